//! JSON Pointers (RFC 6901).

use std::borrow::Cow;

use super::super::change::{DEPTH_MAX, KEY_MAX};

/// Splits a pointer into its steps. The leading slash may be left out.
pub(super) fn steps(path: &str) -> Result<Vec<Cow<'_, str>>, String> {
    if path.is_empty() {
        return Ok(Vec::new());
    }
    let steps: Vec<_> = path.strip_prefix('/').unwrap_or(path).split('/').map(step).collect::<Result<_, _>>()?;
    if steps.len() > usize::from(DEPTH_MAX) + super::super::change::ATOMIC_DEPTH_MAX {
        return Err("the path is too deep".to_owned());
    }
    Ok(steps)
}

fn step(text: &str) -> Result<Cow<'_, str>, String> {
    if text.len() > KEY_MAX {
        return Err(format!("a key has {} bytes, the limit is {KEY_MAX}", text.len()));
    }
    if !text.contains('~') {
        return Ok(Cow::Borrowed(text));
    }
    let mut key = String::with_capacity(text.len());
    let mut chars = text.chars();
    while let Some(c) = chars.next() {
        key.push(match c {
            '~' => match chars.next() {
                Some('0') => '~',
                Some('1') => '/',
                _ => return Err("a tilde is written ~0, a slash in a key ~1".to_owned()),
            },
            c => c,
        });
    }
    Ok(Cow::Owned(key))
}

/// The pointer of these steps.
pub(super) fn pointer<'a>(steps: impl IntoIterator<Item = &'a str>) -> String {
    steps.into_iter().flat_map(|step| ["/".to_owned(), step.replace('~', "~0").replace('/', "~1")]).collect()
}

/// The index that a step names in a list: digits without leading zeros.
pub(super) fn index(step: &str) -> Option<usize> {
    let digits = step == "0" || (!step.starts_with('0') && step.bytes().all(|byte| byte.is_ascii_digit()));
    digits.then(|| step.parse().ok()).flatten()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pointers_are_split_and_unescaped() {
        assert_eq!(steps("").unwrap(), Vec::<String>::new());
        assert_eq!(steps("/a/b~1c/~0~01").unwrap(), ["a", "b/c", "~~1"]);
        assert_eq!(steps("a/0").unwrap(), ["a", "0"]);
        assert_eq!(steps("/").unwrap(), [""]);
        assert_eq!(pointer(["a", "b/c", "~~1"]), "/a/b~1c/~0~01");
        assert_eq!(pointer([]), "");
        assert!(steps("/a~2").is_err());
        assert!(steps("/a~").is_err());
    }

    #[test]
    fn an_index_has_no_leading_zero_and_no_sign() {
        assert_eq!(
            ["0", "10", "01", "+1", "-", "", "99999999999999999999"].map(index),
            [Some(0), Some(10), None, None, None, None, None]
        );
    }
}
