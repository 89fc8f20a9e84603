//! What the card says of itself, and what the guest sets: OIDs. Source: [MS-RNDIS] §3.2, Windows driver
//! documentation on OIDs.

use crate::scaling::{MOST_ENTRIES, Scaling};
use crate::wire::ndis::{offload, oid, scale_capabilities};
use crate::wire::rndis::Status;

/// An Ethernet address.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct MacAddress(pub [u8; 6]);

/// What a card is like.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// Its address.
    pub mac: MacAddress,
    /// The most bytes of a frame behind its Ethernet header.
    pub mtu: u32,
    /// In bits a second.
    pub link_speed: u64,
    /// What Hyper-V's manager calls it.
    pub name: String,
    /// Whether whoever takes the frames computes checksums.
    pub checksums: bool,
    /// The most bytes of a large send that whoever takes the frames cuts; 0 for none.
    pub large_send: u32,
    /// Channels that frames for the guest may be spread over, at least 1.
    pub channels: u16,
}

/// Bytes of an Ethernet header.
pub(crate) const ETHERNET_HEADER: u32 = 14;

/// Bits of the packet filter.
const DIRECTED: u32 = 1;
const MULTICAST: u32 = 2;
const ALL_MULTICAST: u32 = 4;
const BROADCAST: u32 = 8;
const PROMISCUOUS: u32 = 0x20;

/// Multicast addresses that the guest may name.
const MOST_MULTICAST: usize = 32;
const VENDOR: &[u8] = b"Microsoft Hyper-V Network Adapter\0";
/// Microsoft's company number.
const VENDOR_ID: u32 = 0x0000_155d;
/// NDIS 6.
const DRIVER_VERSION: u32 = 0x0600;
/// No loopback, no copied lookahead, priority and VLAN are taken.
const MAC_OPTIONS: u32 = 1 | 2 | 8 | 0x40 | 0x200;

/// The list that OID_GEN_SUPPORTED_LIST answers.
const SUPPORTED: [u32; 32] = [
    oid::GEN_SUPPORTED_LIST,
    oid::GEN_HARDWARE_STATUS,
    oid::GEN_MEDIA_SUPPORTED,
    oid::GEN_MEDIA_IN_USE,
    oid::GEN_MAXIMUM_LOOKAHEAD,
    oid::GEN_MAXIMUM_FRAME_SIZE,
    oid::GEN_LINK_SPEED,
    oid::GEN_TRANSMIT_BLOCK_SIZE,
    oid::GEN_RECEIVE_BLOCK_SIZE,
    oid::GEN_VENDOR_ID,
    oid::GEN_VENDOR_DESCRIPTION,
    oid::GEN_CURRENT_PACKET_FILTER,
    oid::GEN_CURRENT_LOOKAHEAD,
    oid::GEN_DRIVER_VERSION,
    oid::GEN_MAXIMUM_TOTAL_SIZE,
    oid::GEN_MAC_OPTIONS,
    oid::GEN_MEDIA_CONNECT_STATUS,
    oid::GEN_MAXIMUM_SEND_PACKETS,
    oid::GEN_VENDOR_DRIVER_VERSION,
    oid::GEN_RECEIVE_SCALE_CAPABILITIES,
    oid::GEN_XMIT_OK,
    oid::GEN_RCV_OK,
    oid::GEN_XMIT_ERROR,
    oid::GEN_RCV_ERROR,
    oid::GEN_RCV_NO_BUFFER,
    oid::GEN_FRIENDLY_NAME,
    oid::PERMANENT_ADDRESS,
    oid::CURRENT_ADDRESS,
    oid::MULTICAST_LIST,
    oid::MAXIMUM_LIST_SIZE,
    oid::OFFLOAD_CURRENT_CONFIG,
    oid::OFFLOAD_HARDWARE_CAPABILITIES,
];

/// The card.
#[derive(Clone, Debug)]
pub(crate) struct Adapter {
    pub config: Config,
    pub connected: bool,
    pub sent: u32,
    pub received: u32,
    pub no_buffer: u32,
    pub scaling: Scaling,
    filter: u32,
    multicast: Vec<MacAddress>,
}

impl Adapter {
    pub fn new(config: Config, connected: bool) -> Self {
        Self {
            config,
            connected,
            sent: 0,
            received: 0,
            no_buffer: 0,
            scaling: Scaling::default(),
            filter: 0,
            multicast: Vec::new(),
        }
    }

    /// As after power-on; the cable stays.
    pub fn reset(&mut self) {
        self.filter = 0;
        self.multicast.clear();
        self.scaling = Scaling::default();
    }

    pub fn query(&self, which: u32) -> Result<Vec<u8>, Status> {
        let config = &self.config;
        let word = |value: u32| Ok(value.to_le_bytes().to_vec());
        match which {
            oid::GEN_SUPPORTED_LIST => Ok(SUPPORTED.iter().flat_map(|o| o.to_le_bytes()).collect()),
            // Ready; Ethernet.
            oid::GEN_HARDWARE_STATUS | oid::GEN_MEDIA_SUPPORTED | oid::GEN_MEDIA_IN_USE => word(0),
            oid::GEN_MAXIMUM_LOOKAHEAD
            | oid::GEN_CURRENT_LOOKAHEAD
            | oid::GEN_MAXIMUM_FRAME_SIZE => word(config.mtu),
            oid::GEN_LINK_SPEED => word(u32::try_from(config.link_speed / 100).unwrap_or(u32::MAX)),
            oid::GEN_TRANSMIT_BLOCK_SIZE
            | oid::GEN_RECEIVE_BLOCK_SIZE
            | oid::GEN_MAXIMUM_TOTAL_SIZE => word(config.mtu.saturating_add(ETHERNET_HEADER)),
            oid::GEN_VENDOR_ID => word(VENDOR_ID),
            oid::GEN_VENDOR_DESCRIPTION => Ok(VENDOR.to_vec()),
            oid::GEN_CURRENT_PACKET_FILTER => word(self.filter),
            oid::GEN_DRIVER_VERSION => Ok((DRIVER_VERSION as u16).to_le_bytes().to_vec()),
            oid::GEN_VENDOR_DRIVER_VERSION => word(DRIVER_VERSION),
            oid::GEN_MAC_OPTIONS => word(MAC_OPTIONS),
            oid::GEN_MEDIA_CONNECT_STATUS => word(u32::from(!self.connected)),
            oid::GEN_MAXIMUM_SEND_PACKETS => word(crate::control::MOST_PACKETS_A_MESSAGE),
            oid::GEN_RECEIVE_SCALE_CAPABILITIES => {
                Ok(scale_capabilities(config.channels, MOST_ENTRIES as u16))
            }
            oid::GEN_XMIT_OK => word(self.sent),
            oid::GEN_RCV_OK => word(self.received),
            oid::GEN_XMIT_ERROR | oid::GEN_RCV_ERROR => word(0),
            oid::GEN_RCV_NO_BUFFER => word(self.no_buffer),
            oid::GEN_FRIENDLY_NAME => {
                let units = config.name.encode_utf16().chain([0]);
                Ok(units.flat_map(u16::to_le_bytes).collect())
            }
            oid::PERMANENT_ADDRESS | oid::CURRENT_ADDRESS => Ok(config.mac.0.to_vec()),
            oid::MULTICAST_LIST => Ok(self.multicast.iter().flat_map(|mac| mac.0).collect()),
            oid::MAXIMUM_LIST_SIZE => word(MOST_MULTICAST as u32),
            oid::OFFLOAD_CURRENT_CONFIG | oid::OFFLOAD_HARDWARE_CAPABILITIES => {
                Ok(offload(config.checksums, config.large_send))
            }
            _ => Err(Status::NOT_SUPPORTED),
        }
    }

    pub fn set(&mut self, which: u32, value: &[u8]) -> Status {
        match which {
            oid::GEN_CURRENT_PACKET_FILTER => match value.first_chunk::<4>() {
                Some(filter) => {
                    self.filter = u32::from_le_bytes(*filter);
                    Status::SUCCESS
                }
                None => Status::INVALID_LENGTH,
            },
            oid::GEN_CURRENT_LOOKAHEAD if value.len() >= 4 => Status::SUCCESS,
            oid::MULTICAST_LIST => {
                let (addresses, rest) = value.as_chunks::<6>();
                if !rest.is_empty() || addresses.len() > MOST_MULTICAST {
                    return Status::INVALID_LENGTH;
                }
                self.multicast = addresses.iter().map(|mac| MacAddress(*mac)).collect();
                Status::SUCCESS
            }
            oid::GEN_RECEIVE_SCALE_PARAMETERS => self.scaling.set(value),
            // What is said beside each frame counts, whatever is switched on or off here.
            oid::OFFLOAD_PARAMETERS if value.len() >= 4 => Status::SUCCESS,
            oid::GEN_CURRENT_LOOKAHEAD | oid::OFFLOAD_PARAMETERS => Status::INVALID_LENGTH,
            _ => Status::NOT_SUPPORTED,
        }
    }

    /// Whether the guest wants frames at all: until it has set a filter it is not ready.
    pub fn listens(&self) -> bool {
        self.filter != 0
    }

    /// Whether the guest wants this frame.
    pub fn accepts(&self, frame: &[u8]) -> bool {
        let Some(to) = frame.first_chunk::<6>() else {
            return false;
        };
        let wanted = match to {
            [255, 255, 255, 255, 255, 255] => BROADCAST,
            [first, ..] if first & 1 != 0 => match self.multicast.contains(&MacAddress(*to)) {
                true => MULTICAST | ALL_MULTICAST,
                false => ALL_MULTICAST,
            },
            _ if *to == self.config.mac.0 => DIRECTED,
            _ => 0,
        };
        self.filter & (wanted | PROMISCUOUS) != 0
    }
}
