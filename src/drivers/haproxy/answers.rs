//! Answers to commands that change something. Pure.
//!
//! `HAProxy` reports errors and success alike, as texts (`severity-output` does not tell them apart either): what is not
//! known as success is an error.

use crate::model::node::NodeAddr;

/// Which answer a command needs to be successful.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Expected {
    /// None.
    Nothing,
    /// None, or that the backend's algorithm takes no weights.
    Weight,
    /// That the address is this one.
    Address(NodeAddr),
    /// That the server was added.
    Added,
    /// That it was deleted.
    Deleted,
}

/// What an answer says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Outcome {
    Success,
    /// The backend's algorithm takes no weights at run time.
    FixedWeights,
    /// The process serves nobody any more.
    Stopping,
    /// It was not done; the answer, for people.
    Rejected(String),
}

/// Whether an answer to `add server` says that the backend's algorithm takes no servers at run time.
pub(super) fn is_static_balance(answer: &str) -> bool {
    answer.starts_with("Backend must use a dynamic load balancing")
}

/// What the answer to a command says, without the line ends behind it, which differ from command to command and from
/// version to version.
pub(super) fn judge(expected: Expected, answer: &str) -> Outcome {
    let answer = answer.trim_matches('\n');
    if answer == "Proxy is disabled." {
        return Outcome::Stopping;
    }
    let is_success = match expected {
        Expected::Weight if answer.starts_with("Backend is using a static LB algorithm") => {
            return Outcome::FixedWeights;
        }
        Expected::Nothing | Expected::Weight => answer.is_empty(),
        Expected::Address(_) => is_address_set(answer),
        Expected::Added => answer == "New server registered.",
        Expected::Deleted => answer == "Server deleted.",
    };
    if is_success {
        return Outcome::Success;
    }
    let first_line = answer.lines().next().unwrap_or_default();
    let text = if first_line.is_empty() {
        "empty answer"
    } else {
        first_line
    };
    Outcome::Rejected(text.to_owned())
}

/// 2.6 and 3.0 word this differently.
fn is_address_set(answer: &str) -> bool {
    const BEGINNINGS: [&str; 3] = [
        "IP changed from ",
        "port changed from ",
        "no need to change the addr",
    ];
    answer == "nothing changed" || BEGINNINGS.iter().any(|text| answer.starts_with(text))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rejected(text: &str) -> Outcome {
        Outcome::Rejected(text.to_owned())
    }

    #[test]
    fn only_known_texts_are_success() {
        let nothing = |answer| judge(Expected::Nothing, answer);
        assert_eq!(nothing(""), Outcome::Success);
        assert_eq!(nothing("\n\n"), Outcome::Success);
        assert_eq!(nothing("No such server.\n"), rejected("No such server."));
        assert_eq!(nothing("Proxy is disabled.\n\n"), Outcome::Stopping);
        assert_eq!(
            nothing("Permission denied\n"),
            rejected("Permission denied")
        );
        let added = |answer| judge(Expected::Added, answer);
        assert_eq!(added("New server registered.\n"), Outcome::Success);
        assert_eq!(added(""), rejected("empty answer"));
        let refused = "Backend must use a dynamic load balancing to support dynamic servers.\n";
        assert!(matches!(added(refused), Outcome::Rejected(_)));
        assert!(is_static_balance(refused));
        let taken = "'server' expects <name> and <addr>[:<port>] as arguments.\n";
        assert!(!is_static_balance(taken));
        let weight = judge(
            Expected::Weight,
            "Backend is using a static LB algorithm and only accepts weights '0%' and '100%'.\n",
        );
        assert_eq!(weight, Outcome::FixedWeights);
    }

    #[test]
    fn addresses_are_set_in_the_words_of_2_6_and_3_0() {
        let node = "10.0.0.1:80".parse().unwrap();
        let address = |answer| judge(Expected::Address(node), answer);
        for answer in [
            "IP changed from '127.0.0.1' to '::1', port changed from '1' to '8080' by 'stats socket command'\n",
            "no need to change the addr, port changed from '1' to '77' by 'stats socket command'\n",
            "port changed from '1' to '77' by 'stats socket command'\n\n",
            "no need to change the addr, no need to change the port by 'stats socket command'\n",
            "nothing changed\n\n",
        ] {
            assert_eq!(address(answer), Outcome::Success, "{answer}");
        }
        for answer in [
            "",
            "Invalid addr 'zz' by 'stats socket command'",
            "Update for the current server address family is only supported through configuration file.",
        ] {
            assert!(matches!(address(answer), Outcome::Rejected(_)), "{answer}");
        }
    }
}
