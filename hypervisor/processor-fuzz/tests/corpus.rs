//! Replays the corpus of the fuzz target.

#[test]
fn hypercall() {
    disk_testing::replay("hypercall", processor_fuzz::hypercall);
}
