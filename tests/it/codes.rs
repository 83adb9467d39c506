//! `authcoded codes` prints the contract.

use std::process::Command;

/// The transition table, word for word as the contract has it.
const TRANSITIONS: &str = include_str!("snapshots/transitions.md");

fn codes(args: &[&str]) -> String {
    let output = Command::new(env!("CARGO_BIN_EXE_authcoded"))
        .arg("codes")
        .args(args)
        .output()
        .expect("the program runs");
    assert!(output.status.success());
    String::from_utf8(output.stdout).expect("UTF-8")
}

#[test]
fn the_transition_table_is_the_contract() {
    let text = codes(&[]);
    let rows: Vec<&str> =
        text.lines().skip_while(|line| !line.starts_with("| input")).take(16).collect();
    let expected: Vec<&str> = TRANSITIONS.lines().collect();
    assert_eq!(expected.len(), 16, "a heading, a rule, and fourteen inputs");
    assert_eq!(rows, expected);
}

#[test]
fn all_tables() {
    insta::assert_snapshot!(codes(&[]));
}

#[test]
fn the_same_as_json() {
    let document: serde_json::Value = serde_json::from_str(&codes(&["--json"])).expect("JSON");
    let rows = document["transitions"].as_array().expect("rows");
    assert_eq!(rows.len(), 14);
    for (row, line) in rows.iter().zip(TRANSITIONS.lines().skip(2)) {
        let columns = ["input", "issued", "received", "activated", "renewed", "frozen", "released"];
        let cells: Vec<_> = columns.iter().map(|key| row[key].as_str().expect("a text")).collect();
        assert_eq!(format!("| {} |", cells.join(" | ")), line);
    }
    assert_eq!(document["buyer_ladder_minutes"], serde_json::json!([10, 30, 60, 120, 240, 360]));
    let answers = document["answers"].as_array().expect("rows");
    assert!(
        answers.iter().any(|row| row["code"] == "92020004" && row["outcome"] == "not_received")
    );
}
