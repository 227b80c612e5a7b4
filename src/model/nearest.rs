//! Names that were probably meant.

use super::text::shortened;

/// Maximum number of names that are offered.
const OFFERED: usize = 3;

/// Maximum length in characters at which a word is compared: no name of use is longer.
const COMPARED: usize = 100;

/// The names that are like this word, the nearest first.
#[must_use]
pub fn nearest<'a>(word: &str, names: impl IntoIterator<Item = &'a str>) -> Vec<&'a str> {
    let word = shortened(word, COMPARED).to_lowercase();
    // A slip or two; of a long word some more.
    let most = (word.chars().count() / 4).max(2);
    let mut near: Vec<_> = names
        .into_iter()
        .filter_map(|name| {
            let distance = strsim::osa_distance(&word, &name.to_lowercase());
            (distance <= most && distance < name.len()).then_some((distance, name))
        })
        .collect();
    near.sort_unstable();
    near.dedup();
    let near = near.into_iter().map(|(_, name)| name);
    near.take(OFFERED).collect()
}

/// `; the nearest are web-1, web-2`, to stand behind what says that there is no such name.
#[must_use]
pub fn offer<'a>(word: &str, names: impl IntoIterator<Item = &'a str>) -> String {
    match nearest(word, names)[..] {
        [] => String::new(),
        [one] => format!("; the nearest is {one}"),
        ref some => format!("; the nearest are {}", some.join(", ")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_differs_by_a_slip_or_two_is_offered_the_nearest_first() {
        let names = [
            "web-r3-1",
            "web-r3-2",
            "web-r3-17",
            "web-r31-1",
            "db-1",
            "api",
        ];
        let offered = |word| offer(word, names);
        assert_eq!(
            offered("web-r3-7"),
            "; the nearest are web-r3-1, web-r3-17, web-r3-2"
        );
        assert_eq!(
            offered("WEB-R3-2"),
            "; the nearest are web-r3-2, web-r3-1, web-r3-17"
        );
        assert_eq!(offered("apj"), "; the nearest is api");
        assert_eq!(offered("website"), "");
        assert_eq!(offered(&"x".repeat(100_000)), "");
    }
}
