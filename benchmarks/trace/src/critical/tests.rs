//! Paths through small traces, and the sum of any.

use proptest::prelude::*;

use super::*;

fn span(id: u64, parent: Option<u64>, name: &str, start: u64, end: u64) -> Span {
    let hex = |id: u64| format!("{id:016x}");
    serde_json::from_value(serde_json::json!({
        "traceId": hex(1), "id": hex(id), "parentId": parent.map(hex), "name": name,
        "startNs": start, "endNs": end,
    }))
    .unwrap()
}

fn names(trace: &[Span]) -> Vec<(&str, u64)> {
    let pieces = path(trace).unwrap();
    pieces
        .iter()
        .map(|piece| (trace[piece.span].name.as_str(), piece.duration_ns))
        .collect()
}

#[test]
fn the_child_that_finished_last_is_on_the_path() {
    let trace = [
        span(1, None, "root", 0, 100),
        span(2, Some(1), "short", 10, 40),
        span(3, Some(1), "long", 10, 90),
        span(4, Some(3), "inner", 20, 60),
    ];
    assert_eq!(
        names(&trace),
        [("root", 10), ("long", 10), ("inner", 40), ("long", 30), ("root", 10)]
    );
}

#[test]
fn children_one_after_another_are_all_on_it() {
    let trace = [
        span(1, None, "root", 0, 100),
        span(2, Some(1), "put", 0, 30),
        span(3, Some(1), "get", 50, 100),
    ];
    assert_eq!(names(&trace), [("put", 30), ("root", 20), ("get", 50)]);
}

#[test]
fn a_child_that_outlives_its_parent_counts_only_within() {
    let trace = [span(1, None, "root", 10, 50), span(2, Some(1), "late", 0, 90)];
    assert_eq!(names(&trace), [("late", 40)]);
}

#[test]
fn stages_sum_to_the_whole_and_too_much_other_is_told() {
    let trace = [span(1, None, "root", 0, 100), span(2, Some(1), "xdt.pull", 0, 90)];
    let breakdown = Breakdown::of(&trace, &microbenchmark()).unwrap();
    assert_eq!(
        (breakdown.total_ns, breakdown.stages["pull"], breakdown.stages[OTHER]),
        (100, 90, 10)
    );
    assert_eq!(breakdown.path, ["xdt.pull", "root"]);
    assert!(breakdown.is_badly_instrumented());
}

#[test]
fn two_roots_or_none_are_no_trace() {
    assert!(path(&[span(1, None, "a", 0, 1), span(2, None, "b", 0, 1)]).is_err());
    assert!(path(&[]).is_err());
    let circle = [span(1, Some(2), "a", 0, 1), span(2, Some(1), "b", 0, 1)];
    assert!(path(&circle).is_err());
}

proptest! {
    #[test]
    fn the_pieces_of_any_trace_cover_the_root_once(
        shape in prop::collection::vec((0_usize..8, 0_u64..1000, 0_u64..1000), 1..24)
    ) {
        let mut trace = vec![span(1, None, "root", 100, 900)];
        for (number, (parent, start, length)) in shape.iter().enumerate() {
            let parent = (*parent).min(number) as u64 + 1;
            trace.push(span(number as u64 + 2, Some(parent), "part", *start, start + length));
        }
        let pieces = path(&trace).unwrap();
        let mut cursor = 100;
        for piece in &pieces {
            prop_assert_eq!(piece.start_ns, cursor);
            cursor += piece.duration_ns;
        }
        prop_assert_eq!(cursor, 900);
    }
}
