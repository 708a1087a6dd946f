//! Table and budget against naive models, over random histories of operations.
//!
//! `cargo test` runs 10,000 histories of each; `PROPTEST_CASES=100000` runs more. A failure prints the shortest history
//! that shows it: make a unit test of that.

use proptest::prelude::*;

#[path = "model/budget.rs"]
mod budget;
#[path = "model/table.rs"]
mod table;

/// Fewest histories per model.
const HISTORIES: u32 = 10_000;

fn config() -> ProptestConfig {
    let default = ProptestConfig::default(); // reads PROPTEST_CASES
    ProptestConfig {
        cases: default.cases.max(HISTORIES),
        failure_persistence: None,
        ..default
    }
}

proptest! {
    #![proptest_config(config())]

    #[test]
    fn the_table_behaves_as_the_naive_map(history in prop::collection::vec(table::operation(), 1..60)) {
        let mut world = table::World::new();
        for operation in history {
            world.run(operation)?;
            world.check()?;
        }
        world.close()?;
    }

    #[test]
    fn the_budget_behaves_as_the_naive_queue(history in prop::collection::vec(budget::operation(), 1..60)) {
        let mut world = budget::World::new();
        for operation in history {
            world.run(operation)?;
            world.check()?;
        }
        world.close()?;
    }
}
