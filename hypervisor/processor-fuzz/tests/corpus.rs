//! Replays the corpus of the fuzz target.

#[test]
fn processor() {
    disk_testing::replay("processor", processor_fuzz::processor);
}
