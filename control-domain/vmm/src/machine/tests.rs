//! The loop of the processors against a hypervisor that follows a script.

use super::*;
use crate::test_board::{ECHO_PORT, END_PORT, SERIAL_PORT, SERIAL_STATUS_PORT, TestBoard};
use devices::Outputs;
use guest_memory::{GuestMemory, Mapping};
use hypercall::Answer;
use hypervisor_abi::{
    Call, Completion, ExitReason, Handle, IO_IN, IO_REPEAT, IO_STRING, Registers, Segment,
};
use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64};
use std::time::Instant;

#[path = "growth_tests.rs"]
mod growth;
#[path = "legacy_adapter_tests.rs"]
mod legacy_adapter;
#[path = "vmbus_tests.rs"]
mod vmbus;

type Step = Box<dyn FnOnce(&RunPage) -> ExitReason + Send>;

/// Answers `Run` by the next step of the processor's script, everything else by Ok.
#[derive(Clone)]
struct Script(Arc<Inner>);

struct Inner {
    memory: BusMemory,
    steps: Mutex<HashMap<u64, VecDeque<Step>>>,
    made: Mutex<Vec<(Call, [u64; 4])>>,
    /// What `GetState` counted.
    counted: AtomicU64,
    /// How often `SyncMemory` still answers that processor 1 runs under the old map.
    stale: Mutex<u32>,
}

impl Calls for Script {
    fn call(&self, call: Call, _: Handle, a: [u64; 4]) -> Answer {
        let ok = |o0, o1| Answer { status: 0, o0, o1 };
        if call != Call::Run {
            self.0.made.lock().unwrap().push((call, a));
        }
        match call {
            Call::Run => {
                let page = self
                    .0
                    .memory
                    .0
                    .mapping()
                    .control_frame()
                    .run_page(a[0] as usize);
                page.signal.store(0, Relaxed);
                page.wake.store(0, Relaxed);
                page.next_deadline.store(u64::MAX, Relaxed);
                let step = self
                    .0
                    .steps
                    .lock()
                    .unwrap()
                    .entry(a[0])
                    .or_default()
                    .pop_front();
                let reason = step.map_or_else(
                    || {
                        std::thread::sleep(Duration::from_millis(1));
                        ExitReason::Interrupted
                    },
                    |step| step(page),
                );
                ok(reason as u64, 0)
            }
            Call::AddMemory => ok(a[2], 0),
            Call::GetState => {
                let count = self.0.counted.fetch_add(1, Relaxed) + 1;
                let frame = self.0.memory.0.mapping().control_frame();
                frame.statistics(a[0] as usize).exits.store(count, Relaxed);
                ok(0, 0)
            }
            Call::RemoveMemory | Call::ProtectMemory => ok(a[1], 0b10),
            Call::SyncMemory => {
                let mut stale = self.0.stale.lock().unwrap();
                *stale = stale.saturating_sub(1);
                ok(if *stale > 0 { 0b10 } else { 0 }, 0)
            }
            _ => ok(0, 0),
        }
    }
}

impl Script {
    fn made(&self, call: Call) -> Vec<[u64; 4]> {
        let made = self.0.made.lock().unwrap();
        made.iter()
            .filter(|(name, _)| *name == call)
            .map(|(_, arguments)| *arguments)
            .collect()
    }
}

struct Bench {
    machine: Machine<Script>,
    script: Script,
    sent: Arc<Mutex<Vec<u8>>>,
}

fn bench(processors: usize, board: Option<Box<dyn Board>>) -> Bench {
    let plan = PoolPlan::new(4 << 20, u64::MAX, 0, 2 << 20);
    let mapping = Mapping::anonymous(plan.total).unwrap();
    let memory = BusMemory(Arc::new(
        GuestMemory::new(mapping, plan.ram().unwrap()).unwrap(),
    ));
    bench_of(memory, plan, processors, board)
}

fn bench_of(
    memory: BusMemory,
    plan: PoolPlan,
    processors: usize,
    board: Option<Box<dyn Board>>,
) -> Bench {
    hypercall::install_kick_signal().unwrap();
    let script = Script(Arc::new(Inner {
        memory: memory.clone(),
        steps: Mutex::default(),
        made: Mutex::default(),
        counted: AtomicU64::new(0),
        stale: Mutex::new(0),
    }));
    let sent = Arc::new(Mutex::new(Vec::new()));
    let sink = sent.clone();
    let board = board.unwrap_or_else(|| {
        Box::new(TestBoard::new(
            4 << 20,
            Box::new(move |byte| sink.lock().unwrap().push(byte)),
        ))
    });
    let clock = Clock::new(1_000_000_000, hypercall::read_tsc(), true);
    let machine = Machine::create(script.clone(), memory, plan, board, clock, processors).unwrap();
    Bench {
        machine,
        script,
        sent,
    }
}

impl Bench {
    fn step(&self, processor: u64, step: impl FnOnce(&RunPage) -> ExitReason + Send + 'static) {
        self.script
            .0
            .steps
            .lock()
            .unwrap()
            .entry(processor)
            .or_default()
            .push_back(Box::new(step));
    }

    /// The guest writes to the port that ends the machine.
    fn end(&self, processor: u64, code: u8) {
        self.step(processor, move |page| port(page, END_PORT, 0, code.into()));
    }
}

fn port(page: &RunPage, port: u16, flags: u64, value: u64) -> ExitReason {
    for (n, word) in [port.into(), 1, flags, value, 0].into_iter().enumerate() {
        page.data[n].store(word, Relaxed);
    }
    ExitReason::Io
}

fn protected_mode(code: u64) -> Registers {
    let flat = |attributes| Segment {
        selector: 8,
        attributes,
        limit: u32::MAX,
        base: 0,
    };
    Registers {
        rip: code,
        rflags: 2,
        cr0: 1,
        cs: flat(0xc9b),
        ss: flat(0xc93),
        ds: flat(0xc93),
        es: flat(0xc93),
        ..Registers::default()
    }
}

#[test]
fn the_machine_is_described_mapped_and_populated() {
    let bench = bench(3, None);
    let config = bench.machine.memory.0.mapping().control_frame().config();
    assert_eq!(config.version.load(Relaxed), ABI_VERSION);
    assert_eq!(config.processor_count.load(Relaxed), 3);
    assert_eq!(config.flags.load(Relaxed), CONFIG_REFERENCE_TSC);
    let ram = bench.machine.memory.0.mapping().user_address(2 << 20);
    // All of it is claimed, video memory included, before RAM is mapped.
    let all = [[ram, 0, 6 << 20, 1], [ram, 0, 4 << 20, 3]];
    assert_eq!(bench.script.made(Call::AddMemory), all);
    assert_eq!(bench.script.made(Call::RemoveMemory), [[0, 6 << 20, 0, 0]]);
    assert_eq!(
        bench.script.made(Call::CreateProcessor),
        [[0, 0, 0, 0], [1, 1, 0, 0], [2, 2, 0, 0]]
    );
}

#[test]
fn exits_are_counted_by_the_threads_of_running_and_of_halted_processors() {
    let bench = bench(2, None);
    bench.step(1, |_| ExitReason::Halted);
    std::thread::scope(|scope| {
        scope.spawn(|| bench.machine.run());
        let mut counts = bench
            .machine
            .exits()
            .iter()
            .map(|exits| exits.all)
            .collect::<Vec<_>>();
        counts.sort_unstable();
        assert_eq!(counts, [1, 2]);
        bench.machine.stop(Outcome::PoweredOff(0));
    });
    // Nobody answers any more, but each said it at its end.
    let mut counts = bench
        .machine
        .exits()
        .iter()
        .map(|exits| exits.all)
        .collect::<Vec<_>>();
    counts.sort_unstable();
    assert_eq!(counts, [3, 4]);
}

#[test]
fn ports_reach_the_board_and_answers_the_guest() {
    let bench = bench(1, None);
    bench.step(0, |page| port(page, SERIAL_PORT, 0, b'A'.into()));
    bench.step(0, |page| {
        assert_eq!(page.completion.load(Relaxed), Completion::Io as u32);
        port(page, SERIAL_STATUS_PORT, IO_IN, 0)
    });
    bench.step(0, |page| {
        assert_eq!(page.data[0].load(Relaxed), 0x60);
        ExitReason::Interrupted
    });
    bench.end(0, 5);
    assert_eq!(bench.machine.run(), Outcome::PoweredOff(5));
    assert_eq!(*bench.sent.lock().unwrap(), b"A");
}

#[test]
fn string_ports_and_device_memory_are_emulated() {
    let bench = bench(1, None);
    let memory = bench.machine.memory.clone();
    // rep outsb; then mov eax, [ebx] behind the memory.
    memory.0.write(0x1000, &[0xf3, 0x6e, 0x8b, 0x03]).unwrap();
    memory.0.write(0x2000, b"hi").unwrap();
    bench.step(0, |page| {
        let mut registers = protected_mode(0x1000);
        (registers.gpr[1], registers.gpr[2], registers.gpr[6]) = (2, SERIAL_PORT.into(), 0x2000);
        page.registers.store(&registers);
        port(page, SERIAL_PORT, IO_STRING | IO_REPEAT, 0)
    });
    bench.step(0, |page| {
        assert_eq!(page.completion.load(Relaxed), Completion::Registers as u32);
        let mut registers = page.registers.load();
        assert_eq!(
            (registers.rip, registers.gpr[1], registers.gpr[6]),
            (0x1002, 0, 0x2002)
        );
        registers.gpr[3] = 0x80_0000;
        page.registers.store(&registers);
        page.data[0].store(0x80_0000, Relaxed);
        page.data[1].store(0, Relaxed);
        ExitReason::Memory
    });
    bench.step(0, |page| {
        let registers = page.registers.load();
        assert_eq!((registers.rip, registers.gpr[0]), (0x1004, 0xffff_ffff));
        ExitReason::Interrupted
    });
    bench.end(0, 0);
    assert_eq!(bench.machine.run(), Outcome::PoweredOff(0));
    assert_eq!(*bench.sent.lock().unwrap(), b"hi");
}

#[test]
fn a_string_that_leaves_what_is_mapped_gives_the_guest_its_page_fault() {
    let bench = bench(1, None);
    let memory = bench.machine.memory.clone();
    // rep insb, over the end of the only page that is mapped for writing (32-bit paging).
    memory.0.write(0x1000, &[0xf3, 0x6c]).unwrap();
    memory.0.write(0x2000, &0x3003u32.to_le_bytes()).unwrap();
    memory.0.write(0x3004, &0x1001u32.to_le_bytes()).unwrap();
    memory.0.write(0x3010, &0x4003u32.to_le_bytes()).unwrap();
    bench.step(0, |page| {
        let mut registers = protected_mode(0x1000);
        (registers.cr0, registers.cr3) = (0x8001_0001, 0x2000);
        (registers.gpr[1], registers.gpr[2], registers.gpr[7]) = (4, ECHO_PORT.into(), 0x4ffe);
        page.registers.store(&registers);
        port(page, ECHO_PORT, IO_IN | IO_STRING | IO_REPEAT, 0)
    });
    bench.step(0, |page| {
        assert_eq!(page.completion.load(Relaxed), Completion::Exception as u32);
        let words = [0, 1, 2].map(|n: usize| page.data[n].load(Relaxed));
        assert_eq!(words, [14, 2, 0x5000]);
        let registers = page.registers.load();
        let [count, destination] = [1, 7].map(|n: usize| registers.gpr[n]);
        assert_eq!((registers.rip, count, destination), (0x1000, 2, 0x5000));
        ExitReason::Interrupted
    });
    bench.end(0, 0);
    assert_eq!(bench.machine.run(), Outcome::PoweredOff(0));
}

#[test]
fn a_halted_processor_is_woken_and_a_running_one_kicked() {
    let bench = bench(3, None);
    let woken = Arc::new(AtomicBool::new(false));
    bench.step(1, |_| ExitReason::Halted);
    let flag = woken.clone();
    bench.step(1, move |_| {
        flag.store(true, SeqCst);
        ExitReason::Interrupted
    });
    // Processor 2 runs until it is kicked.
    bench.step(2, |page| {
        while page.exit_request.load(SeqCst) == 0 {
            std::thread::yield_now();
        }
        ExitReason::Interrupted
    });
    bench.step(2, |page| {
        assert_eq!(page.exit_request.load(SeqCst), 0);
        ExitReason::Interrupted
    });
    bench.step(0, |page| {
        std::thread::sleep(Duration::from_millis(20));
        page.wake.store(0b010, Relaxed);
        page.signal.store(0b100, Relaxed);
        ExitReason::Interrupted
    });
    // Until it is awake, however busy the host is.
    let flag = woken.clone();
    bench.step(0, move |_| {
        let start = Instant::now();
        while !flag.load(SeqCst) && start.elapsed() < Duration::from_secs(30) {
            std::thread::sleep(Duration::from_millis(1));
        }
        ExitReason::Interrupted
    });
    bench.end(0, 0);
    assert_eq!(bench.machine.run(), Outcome::PoweredOff(0));
    assert!(woken.load(SeqCst));
}

#[test]
fn a_halted_processor_runs_again_at_its_deadline() {
    let bench = bench(1, None);
    let start = Instant::now();
    bench.step(0, |page| {
        // The test's counter is taken for 1 GHz; real ones are faster, so this is 30 ms at most.
        page.next_deadline
            .store(hypercall::read_tsc() + 30_000_000, Relaxed);
        ExitReason::Halted
    });
    bench.end(0, 0);
    assert_eq!(bench.machine.run(), Outcome::PoweredOff(0));
    assert!(
        start.elapsed() < Duration::from_secs(5) && start.elapsed() >= Duration::from_millis(5)
    );
}

#[test]
fn endings_have_reasons() {
    let bench_of = |reason: ExitReason| {
        let bench = bench(2, None);
        bench.step(1, move |page| {
            page.registers.store(&protected_mode(0x4242));
            reason
        });
        bench.machine.run()
    };
    assert!(
        matches!(bench_of(ExitReason::Shutdown), Outcome::TripleFault(text) if text.contains("processor 1") && text.contains("8:4242"))
    );
    assert!(
        matches!(bench_of(ExitReason::Unsupported), Outcome::Failed(text) if text.contains("not supported"))
    );
    assert!(
        matches!(bench_of(ExitReason::TaskSwitch), Outcome::Failed(text) if text.contains("a far call") && text.contains("AMD"))
    );
    assert_eq!(bench_of(ExitReason::Reset), Outcome::Reset);
}

#[test]
fn events_and_messages_are_sent_back() {
    let bench = bench(1, None);
    let memory = bench.machine.memory.clone();
    let mut input = [0; 256];
    (input[0], input[8], input[12], input[16]) = (1, 7, 3, 0xab);
    memory.0.write(0x3000, &input).unwrap();
    let hypercall = |page: &RunPage, control: u64, input: u64| {
        page.data[0].store(control, Relaxed);
        page.data[1].store(input, Relaxed);
        ExitReason::Hypercall
    };
    bench.step(0, move |page| hypercall(page, 0x1_005d, 1 | 9 << 32));
    bench.step(0, move |page| {
        assert_eq!(page.data[0].load(Relaxed), 0);
        hypercall(page, 0x5c, 0x3000)
    });
    bench.step(0, move |page| {
        assert_eq!(page.data[0].load(Relaxed), 0);
        hypercall(page, 0x1_005d, 0xffff)
    });
    bench.step(0, move |page| {
        assert_eq!(page.data[0].load(Relaxed), 0x12);
        hypercall(page, 0x5c, 0x3f08)
    });
    bench.step(0, |page| {
        assert_eq!(page.data[0].load(Relaxed), 4, "the message crosses a page");
        ExitReason::Interrupted
    });
    bench.end(0, 0);
    assert_eq!(bench.machine.run(), Outcome::PoweredOff(0));
    assert_eq!(bench.script.made(Call::SignalEvent), [[1, 2, 9, 0]]);
    let [[1, 2, offset, 0]] = bench.script.made(Call::PostMessage)[..] else {
        panic!()
    };
    let mut message = [0; 256];
    memory.0.mapping().read(offset, &mut message);
    assert_eq!(
        (message[0], message[4], message[8], message[16]),
        (7, 3, 1, 0xab)
    );
}

/// A board whose memory shrinks at the first port access, and whose 8259 then has an interrupt.
struct ShrinkingBoard {
    outputs: Outputs,
    shrunk: bool,
    line: bool,
}

impl Board for ShrinkingBoard {
    fn port_read(&mut self, _: u16, _: u8, _: u64, _: &BusMemory) -> u32 {
        (self.shrunk, self.line, self.outputs.layout_changed) = (true, true, true);
        1
    }
    fn port_write(&mut self, _: u16, _: u8, _: u32, _: u64, _: &BusMemory) {
        self.outputs.power_off = true;
    }
    fn mmio_read(&mut self, _: u64, _: &mut [u8], _: u64) {}
    fn mmio_write(&mut self, _: u64, _: &[u8], _: u64, _: &BusMemory) {}
    fn end_of_interrupt(&mut self, _: u8) {}
    fn interrupt_pending(&self) -> bool {
        self.line
    }
    fn acknowledge_interrupt(&mut self) -> u8 {
        self.line = false;
        0x33
    }
    fn advance(&mut self, _: u64) {}
    fn next_deadline_ns(&self) -> Option<u64> {
        None
    }
    fn has_outputs(&self) -> bool {
        !self.outputs.is_empty()
    }
    fn take_outputs(&mut self) -> Outputs {
        std::mem::take(&mut self.outputs)
    }
    fn memory_layout(&self) -> Vec<Region> {
        let length = if self.shrunk { 1 << 20 } else { 4 << 20 };
        vec![Region {
            start: 0,
            length,
            target: devices::Target::Ram,
        }]
    }
}

#[test]
fn the_map_changes_before_the_guest_goes_on_and_the_8259_is_asked_late() {
    let board = ShrinkingBoard {
        outputs: Outputs::default(),
        shrunk: false,
        line: false,
    };
    let bench = bench(2, Some(Box::new(board)));
    *bench.script.0.stale.lock().unwrap() = 3;
    bench.step(0, |page| port(page, 0x70, IO_IN, 0));
    let script = bench.script.clone();
    bench.step(0, move |page| {
        assert_eq!(
            script.made(Call::RemoveMemory)[1..],
            [[1 << 20, 3 << 20, 0, 0]]
        );
        assert_eq!(script.made(Call::SyncMemory).len(), 3);
        assert_eq!(page.extint.load(SeqCst), EXTINT_REQUEST);
        ExitReason::ExternalInterrupt
    });
    bench.step(0, |page| {
        assert_eq!(
            page.extint.load(SeqCst),
            hypervisor_abi::EXTINT_VECTOR | 0x33
        );
        port(page, 0x70, 0, 0)
    });
    assert_eq!(bench.machine.run(), Outcome::PoweredOff(0));
}
