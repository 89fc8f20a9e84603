//! A machine that gets memory while it runs.

use super::*;

const GRANULE: u64 = 8 << 20;

#[test]
fn a_granule_becomes_memory_behind_the_rest_and_stays_over_a_reset() {
    let folder = tempfile::tempdir().unwrap();
    let files = ["first", "second"].map(|name| folder.path().join(name));
    for path in &files {
        std::fs::write(path, vec![0xaa; GRANULE as usize]).unwrap();
    }
    let plan = PoolPlan::new(4 << 20, u64::MAX, 0, 2 << 20).growing_from(GRANULE);
    let mapping = Mapping::open(&files[..1], GRANULE).unwrap();
    let memory = BusMemory(Arc::new(
        GuestMemory::new(mapping, plan.ram().unwrap()).unwrap(),
    ));
    let (gpa, _) = plan.growth().unwrap();
    for _ in 0..2 {
        let bench = bench_of(memory.clone(), plan, 1, None);
        let machine = &bench.machine;
        assert!(memory.0.read_value(gpa, 8).is_err());
        if memory.0.mapping().length() == GRANULE {
            assert!(machine.grow().is_err(), "nothing is there yet");
            memory.0.mapping().extend(&files[1]).unwrap();
        }
        assert_eq!(machine.spare_bytes(), GRANULE);
        assert_eq!(machine.grow(), Ok((gpa, GRANULE)));
        assert_eq!(machine.spare_bytes(), 0);
        let added = bench.script.made(Call::AddMemory);
        let address = memory.0.mapping().user_address(GRANULE);
        assert_eq!(added.last().unwrap()[..3], [address, gpa, GRANULE]);
        assert_eq!(memory.0.read_value(gpa + GRANULE - 8, 8), Ok(0), "cleared");
        memory.0.write_value(gpa, 7, 8).unwrap();
        assert!(memory.0.read_value(gpa + GRANULE, 8).is_err());
    }
}
