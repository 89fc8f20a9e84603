//! Video memory: a part of the machine's granules, mapped into the guest at the same time; and the adapter
//! on VMBus by which the guest says where it maps it and what it shows.

use crate::memory::BusMemory;
use crate::running::Running;
use devices::{LinearMode, VideoMemory};
use synthetic_video::{Display, Mode, Video};
use vmbus::Device;

/// The adapter of a Generation 2 machine. On the screen that the firmware has turned on goes on what the
/// operating system shows.
pub fn adapter(running: &Running) -> Box<dyn Device> {
    let screen = running.services().screen.clone();
    let display = BoardScreen(running.clone());
    Box::new(Video::new(Box::new(display), screen))
}

/// The screen of the board that the machine runs on.
struct BoardScreen(Running);

impl Display for BoardScreen {
    fn place(&mut self, gpa: u64) -> bool {
        let machine = self.0.machine();
        machine.is_some_and(|machine| machine.with_board(|board, _, _| board.place_screen(gpa)))
    }

    fn show(&mut self, mode: Option<Mode>) {
        let mode = mode.map(|mode| LinearMode {
            offset: mode.offset.into(),
            width: mode.width,
            height: mode.height,
            pitch: mode.pitch.into(),
            depth: mode.depth,
        });
        if let Some(machine) = self.0.machine() {
            machine.with_board(|board, _, _| board.set_screen_mode(mode));
        }
    }
}

/// The video adapter's view of its memory.
pub struct PoolVideoMemory {
    /// The granules.
    pub memory: BusMemory,
    /// Where video memory begins in them.
    pub offset: u64,
    /// Its size in bytes.
    pub size: u32,
}

impl PoolVideoMemory {
    /// The part of an access that lies within the memory.
    fn within(&self, offset: u32, length: usize) -> usize {
        length.min(self.size.saturating_sub(offset) as usize)
    }
}

impl VideoMemory for PoolVideoMemory {
    fn size(&self) -> u32 {
        self.size
    }

    fn read(&self, offset: u32, data: &mut [u8]) {
        let length = self.within(offset, data.len());
        data[length..].fill(0);
        if length > 0 {
            self.memory
                .0
                .mapping()
                .read(self.offset + u64::from(offset), &mut data[..length]);
        }
    }

    fn write(&mut self, offset: u32, data: &[u8]) {
        let length = self.within(offset, data.len());
        if length > 0 {
            self.memory
                .0
                .mapping()
                .write(self.offset + u64::from(offset), &data[..length]);
        }
    }
}
