//! TOML files whose unknown keys are errors that name the nearest known one.

use std::path::Path;

use serde::de::DeserializeOwned;
use toml::{Table, Value};

use crate::{Error, Result};

/// Reads `path`, with `set` (`table.key=value`) laid over it, into `T` (which denies unknown fields).
///
/// The value of a `set` is TOML where it can be read as such, else a string: `3`, `1e-3`, `true`, `[1, 2]`, `adam`.
pub fn read_toml<T: DeserializeOwned>(path: &Path, set: &[String]) -> Result<T> {
    let invalid = |reason| Error::Toml { path: path.to_owned(), reason };
    let bytes = std::fs::read(path).map_err(nic_core::Error::io(path))?;
    let text = String::from_utf8(bytes).map_err(|error| {
        invalid(format!("not UTF-8 text (byte {})", error.utf8_error().valid_up_to()))
    })?;
    let mut table: Table =
        text.parse().map_err(|error| invalid(format!("not TOML: {}", describe(&error, &text))))?;
    for assignment in set {
        let from_set = |reason: String| {
            let reason = reason.trim_end();
            invalid(format!("--set {assignment}: {reason}"))
        };
        let (keys, value) = parse_set(assignment).map_err(from_set)?;
        // On its own the key can miss others, but what is wrong with it is found before what is missing.
        let mut alone = Table::new();
        insert(&mut alone, &keys, value.clone()).map_err(from_set)?;
        if let Err(error) = T::deserialize(alone)
            && !is_missing(&error)
        {
            return Err(from_set(with_nearest(error.message())));
        }
        insert(&mut table, &keys, value).map_err(from_set)?;
    }
    T::deserialize(table).map_err(|merged| {
        // The text knows lines, which the table has lost; but only the table knows what was set.
        let error = match toml::from_str::<T>(&text) {
            Err(error) if set.is_empty() || !is_missing(&error) || is_missing(&merged) => error,
            _ => merged,
        };
        invalid(describe(&error, &text))
    })
}

fn is_missing(error: &toml::de::Error) -> bool {
    error.message().starts_with("missing field")
}

/// `line L, column C: what is wrong`.
fn describe(error: &toml::de::Error, text: &str) -> String {
    let reason = with_nearest(error.message());
    let Some(before) = error.span().and_then(|span| text.get(..span.start)) else {
        return reason;
    };
    let line = before.matches('\n').count() + 1;
    let column = before.chars().rev().take_while(|&c| c != '\n').count() + 1;
    format!("line {line}, column {column}: {reason}")
}

/// serde's "unknown field `a`, expected one of `b`, `c`", with the nearest of the known ones named first.
fn with_nearest(message: &str) -> String {
    let kind = ["field", "variant"]
        .into_iter()
        .find_map(|kind| Some((kind, message.strip_prefix(&format!("unknown {kind} "))?)));
    let Some((kind, rest)) = kind else { return message.to_owned() };
    let mut names = rest.split('`').skip(1).step_by(2);
    let Some(found) = names.next() else { return message.to_owned() };
    let known: Vec<_> = names.collect();
    let nearest =
        known.iter().min_by_key(|name| strsim::damerau_levenshtein(&found.to_lowercase(), name));
    let kind = if kind == "field" { "key" } else { "value" };
    match nearest {
        Some(nearest) => {
            let known = known.join("`, `");
            format!("unknown {kind} `{found}`; did you mean `{nearest}`? (known here: `{known}`)")
        }
        None => format!("unknown {kind} `{found}`; none is known here"),
    }
}

fn parse_set(assignment: &str) -> std::result::Result<(Vec<&str>, Value), String> {
    let (key, value) =
        assignment.split_once('=').ok_or_else(|| "expected table.key=value".to_owned())?;
    let keys: Vec<_> = key.split('.').map(str::trim).collect();
    if keys.iter().any(|key| key.is_empty()) {
        return Err("expected table.key=value".to_owned());
    }
    let value = value.trim();
    Ok((keys, value.parse().unwrap_or_else(|_| Value::String(value.to_owned()))))
}

fn insert(table: &mut Table, keys: &[&str], value: Value) -> std::result::Result<(), String> {
    let Some((last, tables)) = keys.split_last() else { return Ok(()) };
    let mut inner = table;
    for key in tables {
        let entry = inner.entry(*key).or_insert_with(|| Value::Table(Table::new()));
        inner = entry.as_table_mut().ok_or_else(|| format!("`{key}` is not a table"))?;
    }
    inner.insert((*last).to_owned(), value);
    Ok(())
}

#[cfg(test)]
mod tests {
    use serde::Deserialize;

    use super::*;

    #[derive(Debug, PartialEq, Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Run {
        name: String,
        train: Train,
    }

    #[derive(Debug, PartialEq, Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Train {
        epochs: u32,
        learning_rate: f64,
        optimizer: Option<Optimizer>,
    }

    #[derive(Debug, PartialEq, Deserialize)]
    #[serde(rename_all = "lowercase")]
    enum Optimizer {
        Adam,
        Sgd,
    }

    const TEXT: &str = "name = \"a\"\n[train]\nepochs = 2\nlearning_rate = 1e-3\n";

    fn read(text: impl AsRef<[u8]>, set: &[&str]) -> std::result::Result<Run, String> {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("run.toml");
        std::fs::write(&path, text).unwrap();
        let set: Vec<_> = set.iter().map(|s| (*s).to_owned()).collect();
        read_toml(&path, &set).map_err(|error| {
            assert_eq!(error.exit_code(), 2);
            error.to_string().replace(&path.display().to_string(), "run.toml")
        })
    }

    #[test]
    fn reads_and_overrides() {
        let run = read(TEXT, &[]).unwrap();
        let train = Train { epochs: 2, learning_rate: 1e-3, optimizer: None };
        assert_eq!(run, Run { name: "a".into(), train });
        let set =
            ["train.epochs=3", "train.learning_rate = 4e-4", "train.optimizer=sgd", "name=x y"];
        let run = read(TEXT, &set).unwrap();
        let train = Train { epochs: 3, learning_rate: 4e-4, optimizer: Some(Optimizer::Sgd) };
        assert_eq!(run, Run { name: "x y".into(), train });
    }

    #[test]
    fn an_override_may_give_what_the_file_lacks_or_has_wrong() {
        let run = read("name = \"a\"\ntrain.epochs = 2\n", &["train.learning_rate=1"]).unwrap();
        assert_eq!(run.train.learning_rate, 1.0);
        let run =
            read(TEXT.replace("epochs = 2", "epochs = \"two\""), &["train.epochs=2"]).unwrap();
        assert_eq!(run.train.epochs, 2);
    }

    #[test]
    fn an_unknown_key_is_named_with_its_line_and_the_nearest_known_one() {
        let error = read(TEXT.replace("epochs", "epoch"), &[]).unwrap_err();
        assert_eq!(
            error,
            "run.toml: line 3, column 1: unknown key `epoch`; did you mean `epochs`? \
             (known here: `epochs`, `learning_rate`, `optimizer`)"
        );
        // also where an override gives another key
        let error = read(TEXT.replace("epochs", "epoch"), &["train.epochs=2"]).unwrap_err();
        assert!(error.contains("line 3, column 1: unknown key `epoch`"), "{error}");
        let error = read(TEXT.replace("name", "nome"), &[]).unwrap_err();
        assert!(
            error.contains("line 1, column 1: unknown key `nome`; did you mean `name`?"),
            "{error}"
        );
        let error = read(format!("{TEXT}optimizer = \"Adam\""), &[]).unwrap_err();
        assert!(
            error.contains("line 5, column 13: unknown value `Adam`; did you mean `adam`?"),
            "{error}"
        );
    }

    #[test]
    fn an_unknown_override_says_so() {
        let error = read(TEXT, &["train.epocs=2"]).unwrap_err();
        assert!(
            error.starts_with(
                "run.toml: --set train.epocs=2: unknown key `epocs`; did you mean `epochs`?"
            ),
            "{error}"
        );
        let error = read(TEXT, &["trian.epochs=2"]).unwrap_err();
        assert!(error.contains("unknown key `trian`; did you mean `train`?"), "{error}");
        let error = read(TEXT, &["train.epochs=many"]).unwrap_err();
        assert!(error.starts_with("run.toml: --set train.epochs=many: invalid type"), "{error}");
        for malformed in ["epochs", ".=3", "train.=3"] {
            let error = read(TEXT, &[malformed]).unwrap_err();
            assert_eq!(error, format!("run.toml: --set {malformed}: expected table.key=value"));
        }
        let error = read(TEXT, &["name.x=3"]).unwrap_err();
        assert!(error.starts_with("run.toml: --set name.x=3: "), "{error}");
    }

    #[test]
    fn what_is_missing_or_malformed_is_named() {
        let error = read("name = \"a\"\n[train]\nepochs = 2\n", &[]).unwrap_err();
        assert_eq!(error, "run.toml: line 2, column 1: missing field `learning_rate`");
        let error = read("name = \"a\"\n[train\n", &[]).unwrap_err();
        assert!(error.starts_with("run.toml: not TOML: line 2, column 7: "), "{error}");
        let error = read(b"name = \"\xff\"", &[]).unwrap_err();
        assert_eq!(error, "run.toml: not UTF-8 text (byte 8)");
        let missing = read_toml::<Run>(Path::new("/nonexistent/run.toml"), &[]).unwrap_err();
        assert!(
            missing.to_string().starts_with("/nonexistent/run.toml: No such file"),
            "{missing}"
        );
        assert_eq!(missing.exit_code(), 2);
    }
}
