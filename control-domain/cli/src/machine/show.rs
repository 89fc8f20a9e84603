//! `entente show`: everything in a running machine, as a tree.

use super::ask;
use crate::command::Command;
use crate::failure::Failure;
use crate::given::Given;
use crate::report::Report;
use management::Request;
use serde_json::Value;

/// `entente show NAME`
pub const SHOW: Command = Command {
    name: "show",
    summary: "the state of everything in a running machine",
    operands: &["NAME"],
    options: &[],
    notes: "Heartbeat and key-value pairs are what the guest's own services say.",
    run,
};

fn run(given: &Given) -> Result<Report, Failure> {
    let tree = ask(given.text(0)?, &Request::Show)?.answer;
    let mut text = String::new();
    branch(&tree, 0, &mut text);
    Ok(Report::new(text, tree))
}

/// A value's lines, each with so many steps of indentation.
fn branch(value: &Value, depth: usize, text: &mut String) {
    let named: Vec<(String, &Value)> = match value {
        Value::Object(entries) => {
            let entries = entries.iter();
            entries.map(|(name, value)| (name.clone(), value)).collect()
        }
        Value::Array(entries) => {
            let entries = entries.iter().enumerate();
            entries
                .map(|(number, value)| (number.to_string(), value))
                .collect()
        }
        _ => return,
    };
    for (name, value) in named {
        *text += &"  ".repeat(depth);
        *text += &name;
        match leaf(value) {
            Some(leaf) => *text += &format!(": {leaf}\n"),
            None => {
                *text += "\n";
                branch(value, depth + 1, text);
            }
        }
    }
}

/// What fits behind its name.
fn leaf(value: &Value) -> Option<String> {
    match value {
        Value::Object(entries) if entries.is_empty() => Some("none".into()),
        Value::Array(entries) if entries.is_empty() => Some("none".into()),
        Value::Array(entries) if entries.iter().all(Value::is_number) => Some(value.to_string()),
        Value::Object(_) | Value::Array(_) => None,
        Value::Null => Some("–".into()),
        Value::String(text) => Some(text.clone()),
        other => Some(other.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_tree_is_indented() {
        let tree = json!({"a": 1, "b": {"c": "x", "d": []}, "e": [{"f": null}], "g": [1, 2]});
        let mut text = String::new();
        branch(&tree, 0, &mut text);
        assert_eq!(
            text,
            "a: 1\nb\n  c: x\n  d: none\ne\n  0\n    f: –\ng: [1,2]\n"
        );
    }
}
