use super::*;
use std::sync::{Arc, Mutex};

#[derive(Clone, Debug, PartialEq, Eq)]
enum Asked {
    Execute(u64, u8, Vec<u8>),
    Cancel,
}

#[derive(Clone, Default)]
struct Backend(Arc<Mutex<Vec<Asked>>>);

impl Backend {
    fn take(&self) -> Vec<Asked> {
        std::mem::take(&mut self.0.lock().unwrap())
    }
}

impl Backend {
    /// The number of the one command that was asked for.
    fn take_command(&self, by: u8) -> u64 {
        match self.take().as_slice() {
            [Asked::Execute(number, locality, command)] => {
                assert_eq!((*locality, command.as_slice()), (by, &GET_RANDOM[..]));
                *number
            }
            other => panic!("{other:?}"),
        }
    }
}

impl TpmBackend for Backend {
    fn execute(&mut self, number: u64, locality: u8, command: &[u8]) {
        let asked = Asked::Execute(number, locality, command.to_vec());
        self.0.lock().unwrap().push(asked);
    }
    fn cancel(&mut self) {
        self.0.lock().unwrap().push(Asked::Cancel);
    }
}

fn tpm() -> (Tpm, Backend) {
    let backend = Backend::default();
    (Tpm::new(Box::new(backend.clone())), backend)
}

fn read(tpm: &Tpm, offset: u64) -> u32 {
    let mut bytes = [0; 4];
    tpm.read(offset, &mut bytes);
    u32::from_le_bytes(bytes)
}

fn write(tpm: &mut Tpm, offset: u64, value: u32) {
    tpm.write(offset, &value.to_le_bytes());
}

/// TPM2_GetRandom of 8 bytes.
const GET_RANDOM: [u8; 12] = [0x80, 0x01, 0, 0, 0, 12, 0, 0, 0x01, 0x7b, 0, 8];

#[test]
fn a_command_is_answered() {
    let (mut tpm, backend) = tpm();
    assert_eq!(read(&tpm, INTERFACE_ID) & 0xff, 0x11, "CRB, version 1");
    assert_eq!(read(&tpm, LOCALITY_STATE), VALID | NOT_ESTABLISHED);
    write(&mut tpm, LOCALITY_CONTROL, REQUEST_ACCESS);
    assert_eq!(read(&tpm, LOCALITY_STATE) & 0x1e, ASSIGNED);
    assert_eq!(read(&tpm, LOCALITY_STATUS), GRANTED);
    assert_eq!(read(&tpm, STATUS), IDLE);
    write(&mut tpm, REQUEST, COMMAND_READY);
    assert_eq!((read(&tpm, REQUEST), read(&tpm, STATUS)), (0, 0));
    // Drivers write bytes, words, or more.
    tpm.write(BUFFER, &GET_RANDOM[..1]);
    tpm.write(BUFFER + 1, &GET_RANDOM[1..4]);
    tpm.write(BUFFER + 4, &GET_RANDOM[4..]);
    write(&mut tpm, START, 1);
    assert_eq!(read(&tpm, START), 1);
    let number = backend.take_command(0);
    // Not while it is under way.
    tpm.write(BUFFER, &[0xaa]);
    write(&mut tpm, START, 1);
    write(&mut tpm, REQUEST, GO_IDLE);
    assert_eq!((backend.take(), read(&tpm, STATUS)), (vec![], 0));
    tpm.respond(number + 1, &[9; 10]);
    assert_eq!(read(&tpm, START), 1, "another command's");
    tpm.respond(number, &[1, 2, 3, 4, 5]);
    assert_eq!(read(&tpm, START), 0);
    let mut response = [0; 8];
    tpm.read(BUFFER, &mut response);
    assert_eq!(response, [1, 2, 3, 4, 5, 12, 0, 0]);
    write(&mut tpm, REQUEST, GO_IDLE);
    assert_eq!(read(&tpm, STATUS), IDLE);
    write(&mut tpm, START, 1);
    assert_eq!(read(&tpm, START), 0, "idle TPMs take no commands");
}

#[test]
fn the_buffer_lies_where_the_registers_say() {
    let (tpm, _) = tpm();
    assert_eq!(read(&tpm, COMMAND_ADDRESS), (BASE + BUFFER) as u32);
    assert_eq!(read(&tpm, RESPONSE_ADDRESS), (BASE + BUFFER) as u32);
    assert_eq!((read(&tpm, 0x60), read(&tpm, 0x6c)), (0, 0));
    assert_eq!(read(&tpm, COMMAND_SIZE), 3968);
    assert_eq!(read(&tpm, RESPONSE_SIZE), 3968);
    assert_eq!(CONTROL_AREA, 0xfed4_0040);
}

#[test]
fn localities_exclude_each_other() {
    let (mut tpm, backend) = tpm();
    let [two, four] = [2, 4].map(|locality| locality * LOCALITY_BYTES);
    write(&mut tpm, two + LOCALITY_CONTROL, REQUEST_ACCESS);
    write(&mut tpm, LOCALITY_CONTROL, REQUEST_ACCESS | SEIZE);
    assert_eq!(read(&tpm, LOCALITY_STATE) & 0x1e, ASSIGNED | 2 << 2);
    assert_eq!((read(&tpm, LOCALITY_STATUS), read(&tpm, BUFFER)), (0, !0));
    write(&mut tpm, REQUEST, COMMAND_READY);
    assert_eq!(read(&tpm, two + STATUS), IDLE);
    // Only the owner gives it away; only a higher one takes it.
    write(&mut tpm, LOCALITY_CONTROL, RELINQUISH);
    write(&mut tpm, four + LOCALITY_CONTROL, SEIZE);
    assert_eq!(read(&tpm, LOCALITY_STATE) & 0x1e, ASSIGNED | 4 << 2);
    write(&mut tpm, four + REQUEST, COMMAND_READY);
    tpm.write(four + BUFFER, &GET_RANDOM);
    write(&mut tpm, four + START, 1);
    backend.take_command(4);
}

#[test]
fn sizes_that_can_not_be_are_answered_here() {
    let (mut tpm, backend) = tpm();
    write(&mut tpm, LOCALITY_CONTROL, REQUEST_ACCESS);
    write(&mut tpm, REQUEST, COMMAND_READY);
    for size in [0, 9, 3969, u32::MAX] {
        tpm.write(BUFFER + 2, &size.to_be_bytes());
        write(&mut tpm, START, 1);
        assert_eq!(read(&tpm, START), 0);
        let mut response = [0; 10];
        tpm.read(BUFFER, &mut response);
        assert_eq!(response, WRONG_SIZE);
    }
    assert_eq!(backend.take(), []);
    // The end of the page, and what would be behind it.
    tpm.write(LOCALITY_BYTES - 2, &[1, 2, 3, 4]);
    let mut end = [0; 4];
    tpm.read(LOCALITY_BYTES - 2, &mut end);
    assert_eq!(end, [1, 2, 0xff, 0xff]);
}

#[test]
fn a_command_is_cancelled_once() {
    let (mut tpm, backend) = tpm();
    write(&mut tpm, LOCALITY_CONTROL, REQUEST_ACCESS);
    write(&mut tpm, REQUEST, COMMAND_READY);
    tpm.write(BUFFER, &GET_RANDOM);
    write(&mut tpm, CANCEL, 1);
    write(&mut tpm, START, 1);
    write(&mut tpm, CANCEL, 1);
    write(&mut tpm, CANCEL, 1);
    assert_eq!(read(&tpm, CANCEL), 1);
    assert_eq!(backend.take().split_off(1), [Asked::Cancel]);
}
