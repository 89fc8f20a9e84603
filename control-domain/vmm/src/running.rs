//! The machine that runs, between its start and its end: what can be seen of it and asked of it, over
//! its guest's resets.

use crate::console::{SerialOutput, serial_output};
use crate::disk::MachineDisk;
use crate::dynamic_memory::Granules;
use crate::events::Events;
use crate::keyboard::Key;
use crate::machine::Machine;
use crate::machine_file::{DiskFormat, MachineFile};
use crate::outcome::Outcome;
use crate::scsi_controller::ScsiController;
use crate::sockets::Sockets;
use crate::vmbus_device::Services;
use hypercall::Hypervisor;
use integration_services::heartbeat::Health;
use management::What;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Instant;

/// Serial ports of a machine.
pub const SERIAL_PORTS: usize = 2;

/// The machine. Clones are the same.
#[derive(Clone)]
pub struct Running(Arc<Shared>);

struct Shared {
    folder: PathBuf,
    started: Instant,
    machine: Mutex<Weak<Machine<Hypervisor>>>,
    hardware: Mutex<Hardware>,
    services: Services,
    sockets: Sockets,
    events: Events,
    /// It is being turned off.
    ending: Arc<AtomicBool>,
    granules: Mutex<Granules>,
    serial: [SerialOutput; SERIAL_PORTS],
}

/// What the machine consists of, as it is now: drives may have come and gone since its file was read.
pub struct Hardware {
    /// The machine file, with those changes.
    pub file: MachineFile,
    /// The SCSI controllers of the run between two resets.
    pub scsi: Vec<ScsiController>,
}

impl Running {
    /// A machine that is about to run.
    pub fn new(folder: PathBuf, file: MachineFile, granules: Granules) -> Self {
        let events = Events::of(&file.name);
        let for_health = events.clone();
        let services = Services::telling(move |health| match health {
            Health::Alive => for_health.note(What::HeartbeatAlive),
            Health::Lost => for_health.note(What::HeartbeatLost),
            Health::NoContact => {}
        });
        let for_freezes = events.clone();
        services.file_systems.set_listener(move |frozen| {
            for_freezes.note(match frozen {
                true => What::FileSystemsFrozen,
                false => What::FileSystemsThawed,
            });
        });
        // Where there can be no socket, its listener says why.
        let sockets = Sockets::at(management::sockets_of(&file.name).unwrap_or_default());
        let scsi = Vec::new();
        Self(Arc::new(Shared {
            folder,
            started: Instant::now(),
            machine: Mutex::default(),
            hardware: Mutex::new(Hardware { file, scsi }),
            services,
            sockets,
            events,
            ending: Arc::default(),
            granules: Mutex::new(granules),
            serial: [(); SERIAL_PORTS].map(|()| serial_output()),
        }))
    }

    /// The machine as it runs since its last reset.
    pub fn set_machine(&self, machine: &Arc<Machine<Hypervisor>>) {
        let current = self.0.machine.lock();
        *current.unwrap_or_else(PoisonError::into_inner) = Arc::downgrade(machine);
    }

    /// The machine, if it runs now.
    pub fn machine(&self) -> Option<Arc<Machine<Hypervisor>>> {
        let machine = self.0.machine.lock();
        machine.unwrap_or_else(PoisonError::into_inner).upgrade()
    }

    /// What it consists of. Hold it only for as long as something changes.
    pub fn hardware(&self) -> MutexGuard<'_, Hardware> {
        self.0
            .hardware
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    /// Its memory's granules. Hold it for as long as their number changes.
    pub fn granules(&self) -> MutexGuard<'_, Granules> {
        self.0
            .granules
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    /// Its folder.
    pub fn folder(&self) -> &Path {
        &self.0.folder
    }

    /// When it was started.
    pub fn started(&self) -> Instant {
        self.0.started
    }

    /// What its guest's drivers say.
    pub fn services(&self) -> &Services {
        &self.0.services
    }

    /// Its sockets between guest and programs.
    pub fn sockets(&self) -> &Sockets {
        &self.0.sockets
    }

    /// What happens to it.
    pub fn events(&self) -> &Events {
        &self.0.events
    }

    /// What its serial ports have put out.
    pub fn serial(&self, port: usize) -> Option<&SerialOutput> {
        self.0.serial.get(port)
    }

    /// Opens the disk of an entry of its file. Answers it with a few words about it.
    ///
    /// # Errors
    /// One sentence with the file's name.
    pub fn open_disk(
        &self,
        path: &Path,
        format: DiskFormat,
    ) -> Result<(MachineDisk, String), String> {
        let (disk, words) = MachineDisk::open(self.folder(), path, format)?;
        Ok((disk.telling(self.events(), &self.0.ending), words))
    }

    /// Asks the guest to end in good order: its driver, or the system that watches the power button.
    /// Answers whether one of them listens.
    pub fn ask_to_power_off(&self) -> bool {
        let listens = self.0.services.shutdown.power_off()
            || self.machine().is_some_and(|machine| {
                machine.with_board(|board, _, _| board.press_power_button())
            });
        if listens {
            self.0.events.note(What::ShutdownAsked);
        }
        listens
    }

    /// Ends it as a power cut would; a request that waits for room on the host ends too.
    pub fn turn_off(&self, how: &str) {
        if let Some(machine) = self.machine() {
            self.0.ending.store(true, SeqCst);
            machine.stop(Outcome::Failed(how.into()));
        }
    }

    /// Presses and releases a key, of the keyboard that the guest has a driver for.
    pub fn press(&self, key: Key) {
        if !self.0.services.keyboard.put(key.strokes())
            && let Some(machine) = self.machine()
        {
            machine.with_board(|board, _, _| board.press(key));
        }
    }

    /// Nothing comes from the machine any more.
    pub fn end(&self, how: &str) {
        self.0.events.note(What::Ended { how: how.into() });
        self.0.events.history().end();
        self.0.serial.iter().for_each(SerialOutput::end);
    }
}
