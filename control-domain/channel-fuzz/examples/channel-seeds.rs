//! Writes the seeds of the corpus: `cargo run -p channel-fuzz --example channel-seeds -- fuzz/corpus`

use channel_fuzz::Record;
use std::error::Error;
use std::path::PathBuf;

/// A command to unit 0 or 1, and the bytes that it moves.
type Command = (&'static str, u8, &'static [u8], u16);

const COMMANDS: [Command; 12] = [
    ("inquiry", 0, &[0x12, 0, 0, 0, 36, 0], 36),
    ("vital-pages", 0, &[0x12, 1, 0xb0, 0, 255, 0], 255),
    (
        "capacity",
        0,
        &[0x9e, 16, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 32, 0, 0],
        32,
    ),
    ("mode", 0, &[0x5a, 0, 0x3f, 0, 0, 0, 0, 0, 192, 0], 192),
    ("read", 0, &[0x28, 0, 0, 0, 0, 9, 0, 0, 4, 0], 2048),
    ("write", 0, &[0x2a, 8, 0, 0, 0, 9, 0, 0, 4, 0], 2048),
    ("write-same", 0, &[0x41, 0, 0, 0, 0, 9, 0, 0, 4, 0], 512),
    ("verify", 0, &[0x2f, 2, 0, 0, 0, 9, 0, 0, 4, 0], 2048),
    ("luns", 0, &[0xa0, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0], 256),
    ("toc", 1, &[0x43, 0, 0, 0, 0, 0, 0, 0, 100, 0], 100),
    ("features", 1, &[0x46, 0, 0, 0, 0, 0, 0, 1, 0, 0], 256),
    ("eject", 1, &[0x1b, 0, 0, 0, 2, 0], 0),
];

/// What [`connect_and_open`] begins with: the records of INITIATE_CONTACT and REQUEST_OFFERS.
const CONNECT_BYTES: usize = (2 + 40) + (2 + 8);

fn main() -> Result<(), Box<dyn Error>> {
    let folder = PathBuf::from(std::env::args_os().nth(1).ok_or("name the corpus folder")?);
    let put = |target: &str, name: &str, bytes: &[u8]| -> std::io::Result<()> {
        let folder = folder.join(target);
        std::fs::create_dir_all(&folder)?;
        std::fs::write(folder.join(name), bytes)
    };
    for (name, lun, cdb, length) in COMMANDS {
        put(
            "storage",
            name,
            &[vec![0], request(lun, cdb, length, &[])].concat(),
        )?;
    }
    let mut list = vec![0, 22, 0, 16, 0, 0, 0, 0];
    list.extend([0, 0, 0, 0, 0, 0, 0, 9, 0, 0, 0, 2, 0, 0, 0, 0]);
    let unmap = request(0, &[0x42, 0, 0, 0, 0, 0, 0, 0, 24, 0], 24, &list);
    put("storage", "unmap", &[vec![0], unmap].concat())?;
    let steps = [(7, 0u16), (9, 0x402), (10, 0), (8, 0), (13, 2), (6, 0)];
    let handshake = steps.iter().flat_map(|(operation, value)| {
        let mut payload = [0; 64];
        payload[0] = *operation;
        payload[12..14].copy_from_slice(&value.to_le_bytes());
        record(&payload, vec![], &[])
    });
    put(
        "storage",
        "handshake",
        &[3].into_iter().chain(handshake).collect::<Vec<_>>(),
    )?;

    let control = [107u32, 1, u32::MAX, 0];
    for (name, message) in [
        ("initialize", vec![2u32, 24, 1, 1, 0, 0x4000]),
        ("query", vec![4, 28, 1, 0x1_0101, 0, 0, 0]),
        ("offload", vec![4, 28, 1, 0xfc01_020d, 0, 0, 0]),
        ("filter", vec![5, 32, 1, 0x1_010e, 4, 20, 0, 0x20]),
        ("keepalive", vec![8, 12, 1]),
    ] {
        put(
            "network",
            name,
            &[vec![0], rndis(&control, &bytes(&message))].concat(),
        )?;
    }
    let mut frame = bytes(&[1, 124, 36 + 32, 48, 0, 0, 0, 36, 32, 0, 0]);
    frame.extend(bytes(&[16, 0, 12, 5 | 34 << 16, 16, 6, 12, 0x640]));
    frame.extend([7; 48]);
    put(
        "network",
        "frame",
        &[vec![0], rndis(&[107, 0, u32::MAX, 0], &frame)].concat(),
    )?;
    let section = record(&bytes(&[107, 0, 0, 124]), vec![(0x1800, 124)], &frame);
    put("network", "section", &[vec![0], section].concat())?;
    let steps = [
        vec![1u32, 2, 0x6_0001],
        vec![125, 1514, 0, 8, 0],
        vec![101, 3, 0xcafe],
        vec![103, 0xcafe],
        vec![133, 1, 4],
    ];
    let handshake = steps
        .iter()
        .flat_map(|step| record(&bytes(step), vec![], &[]));
    put(
        "network",
        "handshake",
        &[1].into_iter().chain(handshake).collect::<Vec<_>>(),
    )?;
    for (name, channel, version) in [
        ("connect-and-open", 1, 3),
        ("backup", 7, 5),
        ("file-copy", 8, 0x1_0001),
    ] {
        let mut negotiation = bytes(&[2 << 16 | 6, 8, 0, 0, 1, 36]);
        negotiation.extend([3, 0, 0, 0, 0, 0, 3, 0, 0, 0, 16, 0, 0, 0, 0, 0, 0, 5, 0, 0]);
        negotiation.extend(bytes(&[0x1_0001, 0, 3, version, 0]));
        put("bus", name, &connect_and_open(channel, &negotiation))?;
    }
    let packet = bytes(&[2 << 16 | 6, 4, 0, 0, 1, 8, 0x6f68, 0x7473]);
    let mut wish = [0; 10];
    wish[0] = 21;
    let steps = connect_and_open(11, &packet);
    let (connect, open) = steps.split_at(CONNECT_BYTES);
    let socket = [connect, &record_without_answer(&bytes(&wish)), open];
    put("bus", "socket", &socket.concat())?;
    // Dynamic memory: a version, capabilities, a report.
    let mut packets = bytes(&[2 << 16 | 6, 4, 0, 0, 1 | 16 << 16, 1, 2 << 16, 0]);
    packets.extend(bytes(&[
        2 << 16 | 6,
        6,
        0,
        0,
        3 | 32 << 16,
        2,
        3,
        0,
        0,
        0,
        !0,
        0,
    ]));
    packets.extend(bytes(&[2 << 16 | 6, 8, 0, 0, 5 | 48 << 16, 3]));
    packets.extend([0; 40]);
    put("bus", "dynamic-memory", &connect_and_open(9, &packets))?;
    // The screen: version 3.5.
    let version = bytes(&[2 << 16 | 6, 5, 0, 0, 1, 12, 1, 12, 5 << 16 | 3, 0]);
    put("bus", "screen", &connect_and_open(10, &version))?;
    let version = bytes(&[2 << 16 | 6, 3, 0, 0, 1, 1 << 16]);
    put("bus", "keyboard", &connect_and_open(5, &version))?;
    let mut version = bytes(&[2 << 16 | 6, 5, 0, 0, 1, 12, 0, 4, 2 << 16, 0, 0, 0]);
    version.extend(bytes(&[2 << 16 | 6, 5, 0, 0, 1, 9, 3, 1, 0, 0]));
    put("bus", "mouse", &connect_and_open(6, &version))?;
    Ok(())
}

/// Connects, opens a channel, whose rings are pages 16 to 19, and sends packets on it.
fn connect_and_open(channel: u32, packets: &[u8]) -> Vec<u8> {
    let message = |kind: u32, body: &[u32]| {
        let payload = bytes(&[&[kind, 0], body].concat());
        record_without_answer(&payload)
    };
    let mut open = vec![channel, 0, 5, 0, 2];
    open.extend([0; 30]);
    let signal = 0x2000 + channel as u16;
    let ring = Record {
        wants_completion: true,
        pieces: vec![(0x100 + 16, signal)],
        payload: &[],
        content: packets,
    };
    let index = Record {
        wants_completion: true,
        pieces: vec![(0x100, signal)],
        payload: &[],
        content: &(packets.len() as u32 + 8).to_le_bytes(),
    };
    [
        message(14, &[5 << 16 | 3, 0, 2, 0, 0, 0, 0, 0]),
        message(3, &[]),
        message(
            8,
            &[
                channel,
                5,
                1 << 16 | 40,
                0x4000,
                0,
                16,
                0,
                17,
                0,
                18,
                0,
                19,
                0,
            ],
        ),
        message(5, &open),
        ring.pack(),
        index.pack(),
        message(22, &[channel, 1]),
        message(7, &[channel]),
        message(11, &[channel, 5]),
        message(16, &[]),
    ]
    .concat()
}

fn record_without_answer(payload: &[u8]) -> Vec<u8> {
    let record = Record {
        payload,
        ..Record::default()
    };
    record.pack()
}

fn bytes(words: &[u32]) -> Vec<u8> {
    words.iter().flat_map(|word| word.to_le_bytes()).collect()
}

fn record(payload: &[u8], pieces: Vec<(u32, u16)>, content: &[u8]) -> Vec<u8> {
    let record = Record {
        wants_completion: true,
        pieces,
        payload,
        content,
    };
    record.pack()
}

fn rndis(packet: &[u32], message: &[u8]) -> Vec<u8> {
    record(&bytes(packet), vec![(0x100, message.len() as u16)], message)
}

fn request(lun: u8, cdb: &[u8], length: u16, content: &[u8]) -> Vec<u8> {
    let mut payload = vec![0; 64];
    payload[0] = 3;
    payload[19..22].copy_from_slice(&[lun, cdb.len() as u8, 20]);
    payload[24..26].copy_from_slice(&length.to_le_bytes());
    payload[28..28 + cdb.len()].copy_from_slice(cdb);
    record(&payload, vec![(0x100, length)], content)
}
