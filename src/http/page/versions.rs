//! The bar that shows the versions of a pool's members.

use crate::api;

/// Number of colours for versions in the style sheet, from `c0`; one more is for all others.
const COLOURS: usize = 8;

/// Maximum number of versions that are shown; all others together are one slice.
const SHOWN: usize = 6;

/// Length of the bar, in its own units.
const LENGTH: usize = 1_000;

/// A part of the bar.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Slice {
    pub(super) label: String,
    pub(super) members: usize,
    /// The number of its colour in the style sheet.
    pub(super) colour: usize,
    pub(super) begin: usize,
    pub(super) width: usize,
}

/// The slices, in the order of the versions. A version keeps its colour while others come and go.
pub(super) fn slices(pool: &api::Pool) -> Vec<Slice> {
    let all: usize = pool.versions.iter().map(|version| version.members).sum();
    let mut shown: Vec<&api::VersionCount> = pool.versions.iter().collect();
    shown.sort_by_key(|version| std::cmp::Reverse(version.members));
    shown.truncate(SHOWN);
    let is_shown = |one: &&api::VersionCount| shown.contains(one);
    let (few, rest): (Vec<_>, Vec<_>) = pool.versions.iter().partition(is_shown);

    let mut slices: Vec<Slice> = Vec::new();
    for one in few {
        let colour = colour(one.version.as_deref().unwrap_or_default(), &slices);
        let label = one.version.as_deref().unwrap_or("no version");
        push(&mut slices, label.to_owned(), one.members, colour);
    }
    if !rest.is_empty() {
        let members = rest.iter().map(|one| one.members).sum();
        push(
            &mut slices,
            format!("{} others", rest.len()),
            members,
            COLOURS,
        );
    }
    place(&mut slices, all);
    slices
}

fn push(slices: &mut Vec<Slice>, label: String, members: usize, colour: usize) {
    slices.push(Slice {
        label,
        members,
        colour,
        begin: 0,
        width: 0,
    });
}

/// By the sum of its bytes: usually, the next version gets the next colour.
fn colour(version: &str, taken: &[Slice]) -> usize {
    let sum: usize = version.bytes().map(usize::from).sum();
    let mut choice = (sum..sum + COLOURS).map(|colour| colour % COLOURS);
    let free = |colour: &usize| taken.iter().all(|slice| slice.colour != *colour);
    choice.find(free).unwrap_or(COLOURS)
}

/// Lays them side by side, without gaps between them.
fn place(slices: &mut [Slice], all: usize) {
    let mut before = 0;
    for slice in slices {
        slice.begin = before * LENGTH / all.max(1);
        before += slice.members;
        slice.width = before * LENGTH / all.max(1) - slice.begin;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http::page::fixtures;

    #[test]
    fn slices_fill_the_bar() {
        let slices = slices(&fixtures::pool("api", &[("v23", 2), ("v24", 1)]));
        let places: Vec<_> = slices.iter().map(|one| (one.begin, one.width)).collect();
        assert_eq!(places, [(0, 666), (666, 334)]);
    }

    #[test]
    fn a_version_keeps_its_colour_when_another_goes() {
        let both = slices(&fixtures::pool("api", &[("v23", 2), ("v24", 1)]));
        let one = slices(&fixtures::pool("api", &[("v24", 3)]));
        assert_ne!(both[0].colour, both[1].colour);
        assert_eq!(both[1].colour, one[0].colour);
    }

    #[test]
    fn many_versions_end_in_one_slice() {
        let versions: Vec<_> = ["a", "b", "c", "d", "e", "f", "g", "h"]
            .map(|name| (name, 1))
            .into();
        let slices = slices(&fixtures::pool("api", &versions));
        assert_eq!(slices.len(), SHOWN + 1);
        assert_eq!(
            (slices[SHOWN].label.as_str(), slices[SHOWN].members),
            ("2 others", 2)
        );
        assert_eq!(slices[SHOWN].begin + slices[SHOWN].width, LENGTH);
    }
}
