//! A machine's legacy network adapters, and the card that Generation 2's firmware boots by: cards of the chipset, each with
//! a switch behind it and a thread that brings frames from there.

use crate::machine::Machine;
use devices::{NetworkCard, Reception};
use hypercall::Calls;
use netvsp::{Frame, MacAddress, Network, Offload};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::Scope;
use std::time::Duration;
use vmbus::Doorbell;

/// Time between two tries to give the guest a frame that it has no buffer for: nothing tells when it has one.
const RETRY: Duration = Duration::from_millis(2);

/// What is behind a card. Clones are the same.
pub struct LegacyAdapter<N> {
    network: Arc<Mutex<N>>,
    doorbell: Doorbell,
}

/// What the machine does for a card: a network of any kind.
pub trait Wire: Send + Sync {
    /// The next frame for the guest.
    fn next(&self) -> Option<Vec<u8>>;
    /// Rings when there is one.
    fn doorbell(&self) -> &Doorbell;
}

impl<N: Network + 'static> LegacyAdapter<N> {
    /// The card with this address and what is behind it.
    pub fn new(mac: MacAddress, plugged: bool, mut network: N) -> (NetworkCard, Self) {
        let doorbell = Doorbell::default();
        network.set_doorbell(doorbell.clone());
        let network = Arc::new(Mutex::new(network));
        let out = network.clone();
        let frames = move |bytes: &[u8]| {
            let frame = Frame {
                bytes: bytes.to_vec(),
                offload: Offload::default(),
            };
            let mut network = out.lock().unwrap_or_else(PoisonError::into_inner);
            network.transmit(frame);
        };
        let card = NetworkCard {
            mac: mac.0,
            plugged,
            frames: Box::new(frames),
        };
        (card, Self { network, doorbell })
    }
}

impl<N: Network> Wire for LegacyAdapter<N> {
    fn next(&self) -> Option<Vec<u8>> {
        let mut network = self.network.lock().unwrap_or_else(PoisonError::into_inner);
        network.next().map(|arrived| arrived.bytes)
    }

    fn doorbell(&self) -> &Doorbell {
        &self.doorbell
    }
}

impl<C: Calls + Sync> Machine<C> {
    /// Starts a thread for each card.
    pub fn serve_legacy_adapters<'scope>(&'scope self, scope: &'scope Scope<'scope, '_>) {
        for (card, wire) in self.legacy_adapters.iter().enumerate() {
            scope.spawn(move || self.serve_legacy_adapter(card, &**wire));
        }
    }

    fn serve_legacy_adapter(&self, card: usize, wire: &dyn Wire) {
        while !self.stopping() {
            while let Some(frame) = wire.next() {
                while self.offer_frame(card, &frame) == Reception::NoRoom {
                    if self.stopping() {
                        return;
                    }
                    std::thread::sleep(RETRY);
                }
            }
            wire.doorbell().wait(None);
        }
    }

    fn offer_frame(&self, card: usize, frame: &[u8]) -> Reception {
        self.with_board(|board, _, memory| board.receive_frame(card, frame, memory))
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use netvsp::{Arrived, Verified};
    use std::sync::mpsc;

    /// Says what it was given, and brings it back.
    struct Echo(mpsc::Sender<Vec<u8>>, Vec<Vec<u8>>);

    impl Network for Echo {
        fn set_doorbell(&mut self, doorbell: Doorbell) {
            doorbell.ring();
        }

        fn transmit(&mut self, frame: Frame) {
            self.0.send(frame.bytes.clone()).unwrap();
            self.1.push(frame.bytes);
        }

        fn next(&mut self) -> Option<Arrived> {
            let bytes = self.1.pop()?;
            Some(Arrived {
                bytes,
                vlan: None,
                verified: Verified::default(),
            })
        }
    }

    #[test]
    fn frames_pass_both_ways() {
        let (sent, heard) = mpsc::channel();
        let mac = MacAddress([2, 0, 0, 0, 0, 1]);
        let (mut card, adapter) = LegacyAdapter::new(mac, true, Echo(sent, Vec::new()));
        assert!(adapter.doorbell().wait(None), "its network has the bell");
        card.frames.put(&[7; 60]);
        assert_eq!(heard.recv().unwrap(), [7; 60]);
        assert_eq!(adapter.next(), Some(vec![7; 60]));
        assert_eq!(adapter.next(), None);
    }
}
