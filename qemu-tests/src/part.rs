//! Parts of rows: what several rows expect alike stands in a file of `rows/parts/`, together with what the emulator
//! needs for it. A row names it among what it expects: `- part: NAME`.

use anyhow::{Context as _, Result};
use serde::Deserialize;
use serde_yaml::{Mapping, Value};
use std::path::Path;

/// In an entry of [`EXPECT`]: the part that comes in its place.
const PART: &str = "part";
const EXPECT: &str = "expect";
const ARGUMENTS: &str = "arguments";
const NAMES: &str = "names";

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct Part {
    arguments: Vec<Value>,
    names: Mapping,
    expect: Vec<Value>,
}

/// The text of a row's file with the parts that it names in it, from the folder `parts` beside it.
pub fn insert(path: &Path, text: Vec<u8>) -> Result<Vec<u8>> {
    let mut row: Mapping = serde_yaml::from_slice(&text)?;
    let Some(Value::Sequence(entries)) = row.get(EXPECT) else {
        return Ok(text);
    };
    if entries.iter().all(|entry| entry.get(PART).is_none()) {
        // Errors in it then name their lines.
        return Ok(text);
    }
    let mut whole = Part::default();
    for entry in entries {
        let Some(name) = entry.get(PART).and_then(Value::as_str) else {
            whole.expect.push(entry.clone());
            continue;
        };
        let file = path.with_file_name("parts").join(format!("{name}.yaml"));
        let text =
            std::fs::read(&file).with_context(|| format!("{} can't be read", file.display()))?;
        let part: Part = serde_yaml::from_slice(&text)
            .with_context(|| format!("{} is no part of a row", file.display()))?;
        whole.arguments.extend(part.arguments);
        whole.names.extend(part.names);
        whole.expect.extend(part.expect);
    }
    row.insert(EXPECT.into(), whole.expect.into());
    add(&mut row, ARGUMENTS, Value::Sequence(whole.arguments));
    add(&mut row, NAMES, Value::Mapping(whole.names));
    Ok(serde_yaml::to_string(&row)?.into_bytes())
}

/// Adds to a row's list or map.
fn add(row: &mut Mapping, key: &str, further: Value) {
    match (row.entry(key.into()).or_insert(Value::Null), further) {
        (Value::Sequence(present), Value::Sequence(further)) => present.extend(further),
        (Value::Mapping(present), Value::Mapping(further)) => present.extend(further),
        (present @ Value::Null, further) => *present = further,
        // Of another shape: whoever reads the row says so.
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn inserted(row: &str, part: &str) -> Result<Value> {
        let folder = std::env::temp_dir().join(format!(
            "row-parts-{}-{:?}",
            std::process::id(),
            std::thread::current().id()
        ));
        std::fs::create_dir_all(folder.join("parts")).unwrap();
        std::fs::write(folder.join("parts/p.yaml"), part).unwrap();
        let text = insert(&folder.join("row.yaml"), row.into());
        std::fs::remove_dir_all(folder).unwrap();
        Ok(serde_yaml::from_slice(&text?)?)
    }

    #[test]
    fn a_part_comes_where_it_is_named() {
        let part = "{arguments: [-b], names: {x: 1}, expect: [{line: two}, {line: three}]}";
        let row = "{arguments: [-a], expect: [{line: one}, {part: p}, {line: four}]}";
        let expected: Value = serde_yaml::from_str(
            "{arguments: [-a, -b], names: {x: 1}, \
              expect: [{line: one}, {line: two}, {line: three}, {line: four}]}",
        )
        .unwrap();
        assert_eq!(inserted(row, part).unwrap(), expected);
    }

    #[test]
    fn what_is_no_part_is_named() {
        let error = inserted("{expect: [{part: other}]}", "{}").unwrap_err();
        assert!(error.to_string().contains("parts/other.yaml"), "{error}");
        let error = inserted("{expect: [{part: p}]}", "{exepct: []}").unwrap_err();
        assert!(error.to_string().contains("is no part"), "{error}");
    }
}
