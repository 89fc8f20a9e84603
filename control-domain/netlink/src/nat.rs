//! Address translation, and what is forwarded. Source: include/uapi/linux/netfilter/nf_tables.h, nfnetlink.h.
//!
//! One table of our own, replaced as a whole:
//!
//! ```text
//! chain forward { type filter hook forward priority 0; policy drop;
//!     ct state established,related accept
//!     iif BRIDGE accept }
//! chain translate { type nat hook postrouting priority 100;
//!     ip saddr NETWORK oif != BRIDGE masquerade }
//! ```
//!
//! So guests reach what the control domain reaches, and nobody reaches them unasked; switches of other
//! kinds are not connected to each other.

use crate::address::Network;
use crate::message::{APPEND, CREATE, Message};
use crate::socket::Socket;
use std::io;

const TABLE: &str = "entente";
const FORWARD: &str = "forward";
const TRANSLATE: &str = "translate";

const NF_TABLES: u16 = 10;
const BATCH_BEGIN: u16 = 16;
const BATCH_END: u16 = 17;
const NEW_TABLE: u16 = NF_TABLES << 8;
const DELETE_TABLE: u16 = NF_TABLES << 8 | 2;
const NEW_CHAIN: u16 = NF_TABLES << 8 | 3;
const NEW_RULE: u16 = NF_TABLES << 8 | 6;
/// NFPROTO_IPV4.
const IPV4: u8 = 2;

const HOOK_FORWARD: u32 = 2;
const HOOK_POSTROUTING: u32 = 4;
const PRIORITY_FILTER: i32 = 0;
const PRIORITY_SOURCE_NAT: i32 = 100;
const DROP: u32 = 0;
const ACCEPT: u32 = 1;

const REGISTER: u32 = 1;
const VERDICT: u32 = 0;
const EQUAL: u32 = 0;
const NOT_EQUAL: u32 = 1;
const META_IIF: u32 = 4;
const META_OIF: u32 = 5;
const CT_STATE: u32 = 0;
/// Bits of established and related.
const ANSWERS: u32 = 2 | 4;
const IPV4_SOURCE: u32 = 12;

/// Lets guests of a bridge out with the control domain's addresses.
///
/// # Errors
/// As the kernel says.
pub fn masquerade(bridge: u32, network: Network) -> io::Result<()> {
    let socket = Socket::netfilter()?;
    // A table of an earlier start may be there; deleting it is refused if not.
    let _ = socket.ask_all(batch([message(DELETE_TABLE, 0).with_text(1, TABLE)]));
    socket.ask_all(batch([
        message(NEW_TABLE, CREATE).with_text(1, TABLE),
        chain(FORWARD, "filter", HOOK_FORWARD, PRIORITY_FILTER, DROP),
        chain(
            TRANSLATE,
            "nat",
            HOOK_POSTROUTING,
            PRIORITY_SOURCE_NAT,
            ACCEPT,
        ),
        rule(FORWARD, |list| accept(are_answers(list))),
        rule(FORWARD, |list| {
            accept(compare(meta(list, META_IIF), EQUAL, &bridge.to_ne_bytes()))
        }),
        rule(TRANSLATE, |list| {
            let from_guests = is_from(list, network);
            let outside = compare(
                meta(from_guests, META_OIF),
                NOT_EQUAL,
                &bridge.to_ne_bytes(),
            );
            expression(outside, "masq", |data| data)
        }),
    ]))
}

fn batch<const N: usize>(messages: [Message; N]) -> Vec<(Message, bool)> {
    let bound = |kind| {
        (
            Message::unacknowledged(kind, 0, &[0, 0, 0, NF_TABLES as u8]),
            false,
        )
    };
    let inside = messages.into_iter().map(|message| (message, true));
    [bound(BATCH_BEGIN)]
        .into_iter()
        .chain(inside)
        .chain([bound(BATCH_END)])
        .collect()
}

fn message(kind: u16, flags: u16) -> Message {
    Message::new(kind, flags, &[IPV4, 0, 0, 0])
}

fn chain(name: &str, kind: &str, hook: u32, priority: i32, policy: u32) -> Message {
    message(NEW_CHAIN, CREATE)
        .with_text(1, TABLE)
        .with_text(3, name)
        .nested(4, |at| {
            at.with(1, &hook.to_be_bytes())
                .with(2, &priority.to_be_bytes())
        })
        .with(5, &policy.to_be_bytes())
        .with_text(7, kind)
}

fn rule(chain: &str, expressions: impl FnOnce(Message) -> Message) -> Message {
    message(NEW_RULE, CREATE | APPEND)
        .with_text(1, TABLE)
        .with_text(2, chain)
        .nested(4, expressions)
}

/// One expression in a list of them.
fn expression(list: Message, name: &str, data: impl FnOnce(Message) -> Message) -> Message {
    list.nested(1, |element| element.with_text(1, name).nested(2, data))
}

fn meta(list: Message, key: u32) -> Message {
    expression(list, "meta", |data| {
        data.with(1, &REGISTER.to_be_bytes())
            .with(2, &key.to_be_bytes())
    })
}

fn compare(list: Message, how: u32, value: &[u8]) -> Message {
    expression(list, "cmp", |data| {
        data.with(1, &REGISTER.to_be_bytes())
            .with(2, &how.to_be_bytes())
            .nested(3, |inside| inside.with(1, value))
    })
}

/// Keeps the bits of a mask.
fn masked(list: Message, mask: [u8; 4]) -> Message {
    expression(list, "bitwise", |data| {
        data.with(1, &REGISTER.to_be_bytes())
            .with(2, &REGISTER.to_be_bytes())
            .with(3, &4u32.to_be_bytes())
            .nested(4, |inside| inside.with(1, &mask))
            .nested(5, |inside| inside.with(1, &[0; 4]))
    })
}

fn are_answers(list: Message) -> Message {
    let state = expression(list, "ct", |data| {
        data.with(1, &REGISTER.to_be_bytes())
            .with(2, &CT_STATE.to_be_bytes())
    });
    compare(masked(state, ANSWERS.to_ne_bytes()), NOT_EQUAL, &[0; 4])
}

fn is_from(list: Message, network: Network) -> Message {
    // From the network's header.
    let base = 1u32;
    let source = expression(list, "payload", |data| {
        data.with(1, &REGISTER.to_be_bytes())
            .with(2, &base.to_be_bytes())
            .with(3, &IPV4_SOURCE.to_be_bytes())
            .with(4, &4u32.to_be_bytes())
    });
    let masked = masked(source, network.mask().octets());
    compare(masked, EQUAL, &network.start().octets())
}

fn accept(list: Message) -> Message {
    expression(list, "immediate", |data| {
        data.with(1, &VERDICT.to_be_bytes()).nested(2, |value| {
            value.nested(2, |verdict| verdict.with(1, &ACCEPT.to_be_bytes()))
        })
    })
}
