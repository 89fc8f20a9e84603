//! The messages of a connected guest.

use super::{Effect, OpenRequest, Phase, Server, status};
use crate::gpadl::{GpadlId, Progress};
use crate::message::{self, Message, body, kind};
use std::sync::Arc;

/// Why a message was not followed. The connection goes on.
pub type Rejected = String;

fn short(what: &str) -> Rejected {
    format!("{what} is too short")
}

impl Server {
    /// Takes a message of the guest.
    ///
    /// # Errors
    /// Why it was not followed, in words for the log.
    pub fn receive(&mut self, bytes: &[u8]) -> Result<Vec<Effect>, Rejected> {
        let (number, rest) = message::split(bytes).ok_or_else(|| short("a message"))?;
        match number {
            kind::INITIATE_CONTACT => {
                let (contact, _) = body(rest).ok_or_else(|| short("INITIATE_CONTACT"))?;
                return Ok(self.initiate_contact(&contact));
            }
            kind::UNLOAD => return Ok(self.unload()),
            _ if self.connection.is_none() => {
                return Err(format!("message {number} without a connection"));
            }
            _ => {}
        }
        match number {
            kind::REQUEST_OFFERS => self.request_offers(),
            kind::OPEN => self.open(rest),
            kind::CLOSE => self.close(rest),
            kind::GPADL_HEADER => {
                let (header, list) = body(rest).ok_or_else(|| short("GPADL_HEADER"))?;
                self.gpadl_header(&header, list)
            }
            kind::GPADL_BODY => {
                let (part, list) =
                    body::<message::GpadlBodyBody>(rest).ok_or_else(|| short("GPADL_BODY"))?;
                let id = GpadlId(part.gpadl.get());
                let progress = self.gpadls.go_on(&part, list);
                let progress = progress.ok_or_else(|| format!("a part of {id}, unknown"))?;
                self.gpadl_progress(id, progress)
            }
            kind::GPADL_TEARDOWN => self.gpadl_teardown(rest),
            kind::RELID_RELEASED => self.released(rest),
            kind::MODIFY_CHANNEL => self.modify(rest),
            kind::TL_CONNECT_REQUEST => {
                let (request, _) = body::<message::TlConnectRequestBody>(rest)
                    .ok_or_else(|| short("TL_CONNECT_REQUEST"))?;
                Ok(vec![Effect::Connect(request.endpoint, request.service)])
            }
            _ => Err(format!("message {number} is unknown")),
        }
    }

    fn request_offers(&mut self) -> Result<Vec<Effect>, Rejected> {
        if self.offers_requested {
            return Err("offers were requested already".into());
        }
        self.offers_requested = true;
        for index in 0..self.announced.len() {
            self.offer(index);
        }
        self.send(Message::bare(kind::ALL_OFFERS_DELIVERED));
        Ok(Vec::new())
    }

    fn open(&mut self, rest: &[u8]) -> Result<Vec<Effect>, Rejected> {
        let (request, _) = body::<message::OpenBody>(rest).ok_or_else(|| short("OPEN"))?;
        let channel = request.channel.get();
        let any_processor = self
            .connection
            .as_ref()
            .is_some_and(|c| c.version.has_event_flags());
        let offered = self
            .channels
            .get_mut(&channel)
            .ok_or_else(|| format!("OPEN of channel {channel}, which is not offered"))?;
        if offered.phase != Phase::Closed {
            return Err(format!(
                "OPEN of channel {channel} when {:?}",
                offered.phase
            ));
        }
        offered.open_number = request.open.get();
        let id = GpadlId(request.gpadl.get());
        let Some(gpadl) = self.gpadls.find(channel, id).cloned() else {
            self.opened(channel, false);
            return Err(format!("OPEN of channel {channel} with {id}, unknown"));
        };
        offered.phase = Phase::Opening;
        offered.open_gpadl = Some(id);
        let place = offered.place;
        let open = OpenRequest {
            gpadl,
            downstream_page: request.downstream_page.get(),
            user_data: request.user_data,
            target_processor: if any_processor {
                request.target_processor.get()
            } else {
                0
            },
            gpadls: self.gpadls.of_channel(channel),
        };
        Ok(vec![Effect::Open(channel, place, Box::new(open))])
    }

    /// No answer: the guest goes on with taking its memory back.
    fn close(&mut self, rest: &[u8]) -> Result<Vec<Effect>, Rejected> {
        let (request, _) = body::<message::ChannelBody>(rest).ok_or_else(|| short("CLOSE"))?;
        let channel = request.channel.get();
        let offered = self
            .channels
            .get_mut(&channel)
            .ok_or_else(|| format!("CLOSE of channel {channel}, which is not offered"))?;
        match offered.phase {
            Phase::Open => {
                offered.phase = Phase::Closed;
                offered.open_gpadl = None;
                let place = offered.place;
                let mut effects = vec![Effect::Close(channel, place)];
                if place.subchannel == 0 {
                    // They are its driver's; the next one asks anew and waits for new offers.
                    let places = self.places_of(place.device).into_iter();
                    for sub in places.filter(|place| place.subchannel != 0) {
                        effects.extend(self.rescind(sub));
                    }
                }
                Ok(effects)
            }
            // Closed by the rescind already.
            Phase::Rescinded => Ok(Vec::new()),
            phase => Err(format!("CLOSE of channel {channel} when {phase:?}")),
        }
    }

    fn gpadl_header(
        &mut self,
        header: &message::GpadlHeaderBody,
        list: &[u8],
    ) -> Result<Vec<Effect>, Rejected> {
        let (channel, id) = (header.channel.get(), GpadlId(header.gpadl.get()));
        if !self.channels.contains_key(&channel) {
            self.gpadl_created(channel, id, false);
            return Err(format!("{id} of channel {channel}, which is not offered"));
        }
        let progress = self.gpadls.begin(header, list);
        self.gpadl_progress(id, progress)
    }

    fn gpadl_progress(&mut self, id: GpadlId, progress: Progress) -> Result<Vec<Effect>, Rejected> {
        match progress {
            Progress::More => Ok(Vec::new()),
            Progress::Refused(channel, error) => {
                self.gpadl_created(channel, id, false);
                Err(format!("{id} of channel {channel}: {error}"))
            }
            Progress::Created(channel, range) => {
                self.gpadl_created(channel, id, true);
                let place = self.channels.get(&channel).map(|offered| offered.place);
                let created = |place| Effect::GpadlCreated(place, id, Arc::clone(&range));
                Ok(place.map(created).into_iter().collect())
            }
        }
    }

    fn gpadl_created(&mut self, channel: u32, id: GpadlId, success: bool) {
        let body = message::GpadlCreatedBody {
            channel: channel.into(),
            gpadl: id.0.into(),
            status: status(success).into(),
        };
        self.send(Message::new(kind::GPADL_CREATED, &body));
    }

    /// Answered even if nothing is there to tear down: the guest waits for it.
    fn gpadl_teardown(&mut self, rest: &[u8]) -> Result<Vec<Effect>, Rejected> {
        let (request, _) =
            body::<message::GpadlTeardownBody>(rest).ok_or_else(|| short("GPADL_TEARDOWN"))?;
        let (channel, id) = (request.channel.get(), GpadlId(request.gpadl.get()));
        let mut effects = Vec::new();
        if let Some(offered) = self.channels.get_mut(&channel) {
            if offered.open_gpadl == Some(id) && offered.phase == Phase::Open {
                // It takes the rings away below an open channel, which ends with them.
                offered.phase = Phase::Closed;
                offered.open_gpadl = None;
                effects.push(Effect::Close(channel, offered.place));
            }
            effects.push(Effect::GpadlTornDown(offered.place, id));
        }
        self.gpadls.remove(channel, id);
        let body = message::GpadlTorndownBody { gpadl: id.0.into() };
        self.send(Message::new(kind::GPADL_TORNDOWN, &body));
        Ok(effects)
    }

    /// The guest has forgotten a channel, and its number may be used again: one that was rescinded,
    /// or all of them just before UNLOAD, when Linux unloads its bus driver.
    fn released(&mut self, rest: &[u8]) -> Result<Vec<Effect>, Rejected> {
        let (request, _) =
            body::<message::ChannelBody>(rest).ok_or_else(|| short("RELID_RELEASED"))?;
        let channel = request.channel.get();
        let offered = self
            .channels
            .remove(&channel)
            .ok_or_else(|| format!("RELID_RELEASED of channel {channel}, which is not offered"))?;
        self.gpadls.remove_channel(channel);
        for announced in &mut self.announced {
            announced.channel.take_if(|number| *number == channel);
        }
        let open = matches!(offered.phase, Phase::Open | Phase::Opening);
        let close = open.then_some(Effect::Close(channel, offered.place));
        Ok(close.into_iter().collect())
    }

    fn modify(&mut self, rest: &[u8]) -> Result<Vec<Effect>, Rejected> {
        let (request, _) =
            body::<message::ModifyChannelBody>(rest).ok_or_else(|| short("MODIFY_CHANNEL"))?;
        let channel = request.channel.get();
        let offered = self.channels.get(&channel);
        let place = offered
            .filter(|offered| offered.phase == Phase::Open)
            .map(|offered| offered.place);
        let answered = self
            .connection
            .as_ref()
            .is_some_and(|c| c.version >= crate::Version::V5_3);
        if answered {
            let body = message::ModifyChannelResponseBody {
                channel: channel.into(),
                status: status(place.is_some()).into(),
            };
            self.send(Message::new(kind::MODIFY_CHANNEL_RESPONSE, &body));
        }
        let place = place.ok_or_else(|| format!("MODIFY_CHANNEL of channel {channel}"))?;
        let target = request.target_processor.get();
        Ok(vec![Effect::Retarget(place, target)])
    }
}
