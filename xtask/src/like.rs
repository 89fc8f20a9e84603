//! Recipes that are `like` another one: what such a file says is added to lists and maps of that one, and replaces
//! its single values.

use crate::context::read as read_file;
use anyhow::{Context as _, Result};
use serde_yaml::{Mapping, Value};
use std::path::{Path, PathBuf};

/// In a recipe: the one that it adds to.
const LIKE: &str = "like";

/// So many recipes stand on each other at most: more are a circle.
const MOST_DEEP: usize = 8;

/// The text of a recipe, complete. `named` is where another one lies. What `further` says is added to it in the same
/// way.
pub fn read(
    path: &Path,
    named: impl Fn(&str) -> PathBuf,
    further: Option<&Path>,
) -> Result<Vec<u8>> {
    let mut recipe = whole(path, &named, MOST_DEEP)?;
    if let Some(further) = further {
        merge(&mut recipe, whole(further, &named, MOST_DEEP)?);
    }
    Ok(serde_yaml::to_string(&recipe)?.into_bytes())
}

fn whole(path: &Path, named: &dyn Fn(&str) -> PathBuf, deep: usize) -> Result<Value> {
    let in_file = || format!("{} is no recipe", path.display());
    let mut map: Mapping = serde_yaml::from_slice(&read_file(path)?).with_context(in_file)?;
    let Some(base) = map.remove(LIKE) else {
        return Ok(Value::Mapping(map));
    };
    let deep = deep.checked_sub(1);
    let deep = deep.with_context(|| {
        format!(
            "{}: recipes are like each other in a circle",
            path.display()
        )
    })?;
    let base = base.as_str().with_context(in_file)?;
    let mut merged = whole(&named(base), named, deep)?;
    merge(&mut merged, Value::Mapping(map));
    Ok(merged)
}

/// Adds `further` to `value`.
fn merge(value: &mut Value, further: Value) {
    match (value, further) {
        (Value::Mapping(map), Value::Mapping(further)) => {
            for (key, further) in further {
                merge(map.entry(key).or_insert(Value::Null), further);
            }
        }
        (Value::Sequence(list), Value::Sequence(further)) => list.extend(further),
        (value, further) => *value = further,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn recipes_stand_on_each_other_but_not_in_a_circle() {
        let folder = std::env::temp_dir().join(format!("like-{}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        let named = |name: &str| folder.join(name);
        for (name, text) in [
            ("a", "list: [1]\nmap: {x: 1, y: 2}\nsize: 3\n"),
            ("b", "like: a\nlist: [2]\nmap: {y: 5}\n"),
            ("c", "like: b\nlist: [3]\nsize: 4\n"),
            ("circle", "like: circle\n"),
        ] {
            std::fs::write(named(name), text).unwrap();
        }
        let whole: Value =
            serde_yaml::from_slice(&read(&named("c"), named, None).unwrap()).unwrap();
        let expected: Value =
            serde_yaml::from_str("{list: [1, 2, 3], map: {x: 1, y: 5}, size: 4}").unwrap();
        assert_eq!(whole, expected);
        let further = read(&named("a"), named, Some(&named("b"))).unwrap();
        let further: Value = serde_yaml::from_slice(&further).unwrap();
        let expected: Value =
            serde_yaml::from_str("{list: [1, 1, 2], map: {x: 1, y: 5}, size: 3}").unwrap();
        assert_eq!(further, expected);
        let error = read(&named("circle"), named, None).unwrap_err().to_string();
        std::fs::remove_dir_all(&folder).unwrap();
        assert!(error.contains("in a circle"), "{error}");
    }
}
