//! What a thread of the host asks the guest for, against a model of the guest's drivers.
#![expect(clippy::unwrap_used, reason = "a test that can't go on should panic")]

mod driver;

use driver::{Driver, SECOND};
use integration_services::backup::{self, Backup, FileSystems};
use integration_services::file_copy::{self, CREATE_PATH, Copies, Destination, FileCopy};
use integration_services::wire::{self, Version, kind};
use std::sync::{Arc, Mutex};
use std::thread::scope;
use std::time::Duration;
use zerocopy::FromBytes;

const PATIENCE: Duration = Duration::from_secs(30);

fn backup() -> (FileSystems, Arc<Mutex<Vec<bool>>>, Driver) {
    let file_systems = FileSystems::default();
    let heard = Arc::new(Mutex::new(Vec::new()));
    let hears = heard.clone();
    file_systems.set_listener(move |frozen| hears.lock().unwrap().push(frozen));
    let device = Box::new(Backup::new(file_systems.clone()));
    let driver = Driver::load(device, backup::INTERFACE);
    (file_systems, heard, driver)
}

/// Takes a request of this operation and answers it.
fn operate(driver: &Driver, operation: u8, status: u32) {
    let (header, body) = driver.awaited();
    assert_eq!(header.kind.get(), kind::BACKUP);
    assert_eq!((body.len(), body[0]), (12, operation));
    driver.answer(header, status, &body);
    driver.wait(0);
}

#[test]
fn file_systems_freeze_and_thaw_as_asked() {
    let (file_systems, heard, driver) = backup();
    let early = file_systems.freeze(Duration::from_secs(9), PATIENCE);
    assert!(early.unwrap_err().contains("no driver"));
    driver.negotiate(Version::new(5, 0));
    scope(|threads| {
        let asked = threads.spawn(|| file_systems.freeze(Duration::from_secs(9), PATIENCE));
        operate(&driver, backup::HOT_BACKUP, 0);
        operate(&driver, backup::FREEZE, 0);
        assert_eq!(asked.join().unwrap(), Ok(()));
        assert!(file_systems.are_frozen());
        let asked = threads.spawn(|| file_systems.thaw(PATIENCE));
        operate(&driver, backup::THAW, 0);
        assert_eq!(asked.join().unwrap(), Ok(()));
    });
    assert!(!file_systems.are_frozen());
    driver.wait(20 * SECOND);
    assert!(driver.receive().is_none(), "the time no longer counts");
    assert_eq!(*heard.lock().unwrap(), [true, false]);
}

#[test]
fn a_frozen_guest_goes_on_when_its_time_is_over() {
    let (file_systems, heard, driver) = backup();
    driver.negotiate(Version::new(5, 0));
    scope(|threads| {
        let asked = threads.spawn(|| file_systems.freeze(Duration::from_secs(9), PATIENCE));
        operate(&driver, backup::HOT_BACKUP, 0);
        operate(&driver, backup::FREEZE, 0);
        assert_eq!(asked.join().unwrap(), Ok(()));
    });
    driver.wait(8 * SECOND);
    assert!(driver.receive().is_none());
    driver.wait(2 * SECOND);
    operate(&driver, backup::THAW, 0);
    assert_eq!(*heard.lock().unwrap(), [true, false]);
    assert!(file_systems.thaw(PATIENCE).is_err());
}

#[test]
fn a_guest_that_freezes_too_late_goes_on_at_once() {
    let (file_systems, heard, driver) = backup();
    driver.negotiate(Version::new(5, 0));
    let (header, body) = scope(|threads| {
        let short = Duration::from_millis(300);
        let asked = threads.spawn(move || file_systems.freeze(Duration::from_secs(9), short));
        operate(&driver, backup::HOT_BACKUP, 0);
        let request = driver.awaited();
        assert!(asked.join().unwrap().unwrap_err().contains("in time"));
        request
    });
    driver.answer(header, 0, &body);
    driver.wait(0);
    operate(&driver, backup::THAW, 0);
    assert_eq!(*heard.lock().unwrap(), [true, false]);
}

#[test]
fn a_guest_without_a_daemon_refuses_and_one_that_goes_ends_the_wait() {
    let (file_systems, heard, driver) = backup();
    driver.negotiate(Version::new(5, 0));
    scope(|threads| {
        let asked = threads.spawn(|| file_systems.freeze(Duration::from_secs(9), PATIENCE));
        operate(&driver, backup::HOT_BACKUP, 0x8000_4005);
        assert!(asked.join().unwrap().unwrap_err().contains("hv_vss_daemon"));
        let asked = threads.spawn(|| file_systems.freeze(Duration::from_secs(9), PATIENCE));
        driver.awaited();
        driver.guest.close(&driver.channel);
        assert!(asked.join().unwrap().unwrap_err().contains("gone"));
    });
    assert!(heard.lock().unwrap().is_empty());
}

fn text(utf16: &[u8]) -> String {
    let units = utf16
        .chunks_exact(2)
        .map(|c| u16::from_le_bytes([c[0], c[1]]));
    String::from_utf16(&units.take_while(|unit| *unit != 0).collect::<Vec<_>>()).unwrap()
}

#[test]
fn a_file_arrives_whole() {
    let copies = Copies::default();
    let driver = Driver::load(Box::new(FileCopy::new(&copies)), file_copy::INTERFACE);
    driver.negotiate(Version::new(1, 1));
    let file: Vec<u8> = (0..15_000u32).map(|n| (n % 251) as u8).collect();
    let to = Destination::new("/srv/new/", "a.bin", CREATE_PATH).unwrap();
    let mut arrived: Vec<u8> = Vec::new();
    scope(|threads| {
        let asked = threads.spawn(|| copies.copy(file.as_slice(), 15_000, &to, PATIENCE));
        let (header, body) = driver.awaited();
        assert_eq!(header.kind.get(), kind::FILE_COPY);
        let start = wire::FileCopyStart::read_from_bytes(&body).unwrap();
        assert_eq!(start.header.operation.get(), file_copy::START);
        assert_eq!(
            (text(&start.folder), text(&start.file)),
            ("/srv/new/".into(), "a.bin".into())
        );
        assert_eq!((start.flags.get(), start.size.get()), (CREATE_PATH, 15_000));
        driver.answer(header, 0, &body);
        for length in [6144, 6144, 2712] {
            let (header, body) = driver.awaited();
            let piece = wire::FileCopyData::read_from_bytes(&body).unwrap();
            assert_eq!(piece.header.operation.get(), file_copy::WRITE);
            assert_eq!(
                (piece.offset.get(), piece.size.get()),
                (arrived.len() as u64, length)
            );
            arrived.extend(&piece.data[..length as usize]);
            driver.answer(header, 0, &body);
        }
        let (header, body) = driver.awaited();
        assert_eq!(body[..4], file_copy::COMPLETE.to_le_bytes());
        driver.answer(header, 0, &body);
        driver.wait(0);
        assert_eq!(asked.join().unwrap(), Ok(()));
    });
    assert_eq!(arrived, file);
}

#[test]
fn a_guest_that_refuses_a_piece_is_told_that_the_file_stays_incomplete() {
    let copies = Copies::default();
    let driver = Driver::load(Box::new(FileCopy::new(&copies)), file_copy::INTERFACE);
    driver.negotiate(Version::new(1, 1));
    let to = Destination::new("C:\\there\\b", "a", 0).unwrap();
    assert_eq!((to.folder.as_str(), to.file.as_str()), ("C:\\there\\", "b"));
    scope(|threads| {
        let asked = threads.spawn(|| copies.copy([7; 9].as_slice(), 9, &to, PATIENCE));
        for (operation, status) in [
            (file_copy::START, 0),
            (file_copy::WRITE, 0x8007_0070),
            (file_copy::CANCEL, 0),
        ] {
            let (header, body) = driver.awaited();
            assert_eq!(body[..4], operation.to_le_bytes());
            driver.answer(header, status, &body);
        }
        driver.wait(0);
        assert!(asked.join().unwrap().unwrap_err().contains("disk is full"));
    });
    for path in ["", "name", "/a\0b", &format!("/{}", "x".repeat(260))] {
        assert!(Destination::new(path, "a", 0).is_err(), "{path}");
    }
}
