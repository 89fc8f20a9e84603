//! Thousands of random calls by two processes, against a plain model of who owns what.

use crate::hal::fake::Caller;
use hypervisor_abi::{CALL_SIGNATURE, Call, FRAME_SIZE, Handle, PAGE_SIZE, Status};
use std::collections::{HashMap, HashSet};

const FRAMES: usize = 12;
const CALLS: usize = 20_000;

/// xorshift64*: enough for choosing calls.
struct Dice(u64);

impl Dice {
    fn roll(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }

    fn below(&mut self, end: u64) -> u64 {
        (self.roll() >> 33) % end
    }

    /// A number near what calls take, or any.
    fn argument(&mut self) -> u64 {
        match self.below(6) {
            0 => self.below(5),
            1 => self.below(4) * FRAME_SIZE,
            2 => Caller::linear(self.below(FRAMES as u64 + 1) as usize),
            3 => self.below(64) * PAGE_SIZE,
            4 => 0xfee0_0000 | self.below(1 << 20),
            _ => self.roll() >> self.below(64),
        }
    }
}

/// The live machines and their frames, the control frame first.
#[derive(Default)]
struct Model(HashMap<(u64, u64), Vec<usize>>);

impl Model {
    fn lives(&self, handle: Handle) -> bool {
        self.0.contains_key(&(handle.0, handle.1))
    }

    fn frames(&mut self, handle: Handle) -> &mut Vec<usize> {
        self.0.entry((handle.0, handle.1)).or_default()
    }

    /// `frame` changes hands: whoever had it is gone, for no processor is ever inside here.
    fn take(&mut self, handle: Handle, frame: usize) {
        let key = (handle.0, handle.1);
        self.0
            .retain(|other, frames| *other == key || !frames.contains(&frame));
        if !self.frames(handle).contains(&frame) {
            self.frames(handle).push(frame);
        }
    }
}

struct Play {
    dice: Dice,
    callers: [Caller; 2],
    handles: Vec<Handle>,
    model: Model,
}

impl Play {
    fn new(seed: u64) -> Self {
        let first = Caller::alone(900, FRAMES);
        let mut second = Caller::new(first.hal, first.machines, 1);
        // Each sees most of the pool, some frames both.
        second.sees(3..FRAMES);
        Self {
            dice: Dice(seed),
            callers: [first, second],
            handles: vec![Handle(0, 0)],
            model: Model::default(),
        }
    }

    fn step(&mut self) {
        let who = self.dice.below(2) as usize;
        let handle = self.handles[self.dice.below(self.handles.len() as u64) as usize];
        let lives = self.model.lives(handle);
        let frame = self.dice.below(FRAMES as u64) as usize;
        let sees = who == 0 || frame >= 3;
        match self.dice.below(12) {
            0 => match self.callers[who].create(frame) {
                Ok(new) => {
                    // Not `take` alone: over its own control frame a machine dies as well.
                    self.model.0.retain(|_, frames| !frames.contains(&frame));
                    self.model.take(new, frame);
                    self.handles.push(new);
                }
                Err(status) => assert!(status == Status::NotMapped && !sees, "{status:?}"),
            },
            1 => {
                let ended = self.callers[who].call(Call::DestroyMachine, handle, [0; 4]);
                assert_eq!(ended.is_ok(), lives);
                self.model.0.remove(&(handle.0, handle.1));
            }
            2..=4 => self.add(who, handle, frame),
            5 => {
                let index = self.dice.below(3);
                let arguments = [index, index, 0, 0];
                let made = self.callers[who].call(Call::CreateProcessor, handle, arguments);
                assert!(lives || made == Err(Status::StaleHandle));
            }
            6 => {
                let arguments = [self.dice.below(3), 0, 0, 0];
                let ran = self.callers[who].call(Call::Run, handle, arguments);
                assert!(lives || ran == Err(Status::StaleHandle));
            }
            _ => self.anything(who, handle),
        }
    }

    fn add(&mut self, who: usize, handle: Handle, frame: usize) {
        let lives = self.model.lives(handle);
        let gpa = self.dice.below(6) * FRAME_SIZE + self.dice.below(3) * PAGE_SIZE;
        let offset = self.dice.below(2) * PAGE_SIZE;
        let arguments = [
            Caller::linear(frame) + offset,
            gpa,
            FRAME_SIZE - offset,
            1 + 2 * self.dice.below(2),
        ];
        let added = self.callers[who].call(Call::AddMemory, handle, arguments);
        match added {
            Err(Status::StaleHandle) => assert!(!lives),
            _ if !lives => panic!("{added:?} of a dead machine"),
            Ok([done, _]) => {
                assert!(done > 0 && done <= FRAME_SIZE - offset);
                self.model.take(handle, frame);
            }
            // The frame changes hands before the map is looked at.
            Err(Status::Overlap | Status::OutOfPages) => self.model.take(handle, frame),
            Err(Status::NotMapped) => assert!(who == 1 && frame < 3),
            Err(Status::InvalidArgument) => assert_eq!(self.model.frames(handle)[0], frame),
            Err(status) => panic!("{status:?}"),
        }
    }

    /// Anything with anything, but what would change owners behind the model's back.
    fn anything(&mut self, who: usize, handle: Handle) {
        let number = self.dice.below(18);
        let arguments = [0; 4].map(|_| self.dice.argument());
        let changes_owners = [Call::CreateMachine, Call::DestroyMachine, Call::AddMemory];
        if changes_owners.iter().any(|call| *call as u64 == number) {
            return;
        }
        let answer = self.callers[who].raw(CALL_SIGNATURE | number, handle, arguments);
        let last = u64::from(Call::LAST);
        let needs_handle = (1..=last).contains(&number);
        let refused = needs_handle && !self.model.lives(handle);
        assert_eq!(answer == Err(Status::StaleHandle), refused, "{number}");
        assert_eq!(answer == Err(Status::UnknownCall), number > last);
    }

    fn check(&mut self) {
        let mut owned = HashSet::new();
        for frame in self.model.0.values().flatten() {
            assert!(owned.insert(*frame), "frame {frame} has two owners");
        }
        for handle in &self.handles {
            let lives = self.callers[0].call(Call::SyncMemory, *handle, [0; 4]);
            assert_eq!(lives.is_ok(), self.model.lives(*handle));
        }
        if self.handles.len() > 60 {
            self.handles.retain(|h| h.0 == 0 || self.model.lives(*h));
        }
    }
}

#[test]
fn random_calls_keep_one_owner_a_frame_and_lose_no_page() {
    for seed in [
        0x1,
        0x5eed_cafe,
        0x9e37_79b9_7f4a_7c15,
        0xdead_beef_0000_0001,
    ] {
        println!("seed {seed:#x}");
        let mut play = Play::new(seed);
        let start = play.callers[0].hal.memory.free_pages();
        for step in 0..CALLS {
            play.step();
            if step % 64 == 0 {
                play.check();
            }
        }
        for (low, high) in play.model.0.into_keys() {
            let ended = play.callers[0].call(Call::DestroyMachine, Handle(low, high), [0; 4]);
            assert!(ended.is_ok());
        }
        let end = play.callers[0].hal.memory.free_pages();
        assert_eq!(end, start, "pages are lost");
    }
}
