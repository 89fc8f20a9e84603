//! The sources of the checkout, and Rust without its comments and strings.

use std::path::Path;
use walkdir::WalkDir;

/// Folders that hold sources; what is built or fetched lies elsewhere.
const FOLDERS: [&str; 8] = [
    ".ci",
    "control-domain",
    "docs",
    "guest-tools",
    "hypervisor",
    "image-recipes",
    "qemu-tests",
    "xtask",
];

/// A file.
pub struct Source {
    /// From the root of the checkout, with `/`.
    pub path: String,
    pub text: String,
}

/// All files with one of these extensions, sorted by path.
pub fn sources(extensions: &[&str]) -> Vec<Source> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let mut found: Vec<_> = FOLDERS
        .iter()
        .map(|folder| root.join(folder))
        .filter(|folder| folder.exists())
        .flat_map(|folder| WalkDir::new(folder).into_iter().flatten())
        .map(|entry| entry.into_path())
        .chain([root.join("Cargo.toml"), root.join("README.md")])
        .filter(|path| {
            let extension = path.extension().and_then(|e| e.to_str());
            extension.is_some_and(|e| extensions.contains(&e)) && path.is_file()
        })
        .map(|path| Source {
            text: std::fs::read_to_string(&path).expect("a source is text"),
            path: path
                .strip_prefix(&root)
                .expect("below the root")
                .to_string_lossy()
                .replace('\\', "/"),
        })
        .collect();
    found.sort_by(|a, b| a.path.cmp(&b.path));
    found
}

impl Source {
    /// `src/lib.rs` or `src/main.rs` of a crate.
    pub fn is_crate_root(&self) -> bool {
        self.path.ends_with("/src/lib.rs") || self.path.ends_with("/src/main.rs")
    }

    /// The text with comments, strings and characters blanked, its lines kept.
    pub fn code(&self) -> String {
        blank(&self.text)
    }
}

fn blank(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(first) = rest.chars().next() {
        let length = not_code(rest, out.chars().next_back());
        match length {
            0 => {
                out.push(first);
                rest = &rest[first.len_utf8()..];
            }
            _ => {
                out.extend(
                    rest[..length]
                        .chars()
                        .map(|c| if c == '\n' { c } else { ' ' }),
                );
                rest = &rest[length..];
            }
        }
    }
    out
}

/// Length of the comment, string or character that `text` begins with; 0 if it is code.
fn not_code(text: &str, before: Option<char>) -> usize {
    let until = |end: &str, from: usize| {
        text[from..]
            .find(end)
            .map_or(text.len(), |at| from + at + end.len())
    };
    if text.starts_with("//") {
        return text.find('\n').unwrap_or(text.len());
    }
    if text.starts_with("/*") {
        return until("*/", 2);
    }
    let in_word = before.is_some_and(|c| c.is_alphanumeric() || c == '_');
    let raw = text.trim_start_matches('b');
    if !in_word && raw.starts_with('r') && text.len() - raw.len() <= 1 {
        let hashes = raw[1..].chars().take_while(|c| *c == '#').count();
        if raw[1 + hashes..].starts_with('"') {
            let start = text.len() - raw.len() + 2 + hashes;
            return until(&format!("\"{}", "#".repeat(hashes)), start);
        }
    }
    if text.starts_with('"') {
        return quoted(text, '"');
    }
    // A character, not a lifetime.
    let mut after = text.chars().skip(1);
    match (text.starts_with('\''), after.next(), after.next()) {
        (true, Some('\\'), _) | (true, Some(_), Some('\'')) => quoted(text, '\''),
        _ => 0,
    }
}

fn quoted(text: &str, quote: char) -> usize {
    let mut escaped = false;
    for (at, c) in text.char_indices().skip(1) {
        match (escaped, c) {
            (true, _) => escaped = false,
            (false, '\\') => escaped = true,
            (false, c) if c == quote => return at + c.len_utf8(),
            _ => {}
        }
    }
    text.len()
}

#[test]
fn comments_strings_and_characters_are_blanked() {
    for (text, code) in [
        ("a // unsafe\nb", "a          \nb"),
        ("/* x\ny */c", "    \n    c"),
        ("f(\"un\\\"safe\")", "f(          )"),
        ("r#\"a\"b\"#;", "        ;"),
        ("br\"a\";c", "     ;c"),
        ("'\"' \"x\"y", "       y"),
        ("'\\'' z", "     z"),
        ("&'a str 'b'", "&'a str    "),
        ("for\"x\"", "for   "),
    ] {
        assert_eq!(blank(text), code, "{text}");
    }
}
