//! `package-docs`: generates the man pages and shell completions of the Debian package from the definition of the
//! command line.
//!
//! ```text
//! cargo run --example package-docs        (writes them to packaging/man and packaging/completions)
//! ```

use std::io::{self, Write};

use clap::{Command, CommandFactory};
use clap_complete::{Shell, generate};
use clap_mangen::Man;
use clap_mangen::roff::{Inline, Roff, bold, italic, roman};
use pollbal::cli::{Cli, EXAMPLES, EXIT_CODES};

/// The directory that the files' paths are relative to.
pub(crate) const DIRECTORY: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/packaging");

/// When the man page last changed.
const DATE: &str = "2026-11-21";

const FILES: [(&str, &str); 9] = [
    (
        "/etc/pollbal.json",
        "the configuration; /usr/share/doc/pollbal/example.json documents every key",
    ),
    (
        "/etc/pollbal.services",
        "the list of nodes, one per line: \"10.0.0.1 8080 # api-node-1\"; checked every second",
    ),
    (
        "/run/pollbal/admin.sock",
        "the admin socket, which accepts commands from the user and the group pollbal",
    ),
    (
        "/run/pollbal/state.json",
        "reasons, leaves, freezes and reported alerts, so that they survive a restart",
    ),
    ("/run/pool/POOL.pool", "the members of a pool"),
    (
        "/run/pool/POOL.VERSION.pool",
        "the members of a pool at a version",
    ),
    (
        "/run/pool/disabled_services",
        "the nodes that are in no pool",
    ),
    (
        "/usr/lib/systemd/system/pollbal.service",
        "the service; its comments explain what hooks may do, and how to change that",
    ),
    (
        "/usr/share/pollbal/alert-mail",
        "an alert_hook that mails through the system's sendmail",
    ),
];

const SIGNALS: [(&str, &str); 2] = [
    (
        "SIGHUP",
        "Reloads the configuration and services file. If there are errors, nothing changes: the previous configuration and \
         list of nodes stay active.",
    ),
    (
        "SIGTERM, SIGINT",
        "Stops within 8 s, usually immediately; if something hangs, such as a disk, with exit code 1. Pools and files stay \
         as they are.",
    ),
];

const ENVIRONMENT: [(&str, &str); 5] = [
    (
        "POLLBAL_CONFIG",
        "The configuration file, unless --config is given.",
    ),
    (
        "POLLBAL_ADMIN_SOCKET",
        "The daemon's admin socket, unless --socket is given.",
    ),
    (
        "SUDO_USER, USER, LOGNAME",
        "The first of these that is set is shown to others as the author of an order.",
    ),
    ("NO_COLOR", "If set: no colors, even on a terminal."),
    (
        "NOTIFY_SOCKET, WATCHDOG_USEC, WATCHDOG_PID",
        "Set by systemd: the daemon reports that it is ready, its status, and that it is alive. Not with --dry-run or --once. \
         Hooks do not get these variables.",
    ),
];

const HOOKS: &str = "Hooks get POLLBAL_POOL_DIRECTORY, the init hooks also POLLBAL_SERVICES_FILE, and the file hooks \
                     POLLBAL_FILE_NAME. node_hook gets POLLBAL_NODE, POLLBAL_NODE_NAME, POLLBAL_POOL, POLLBAL_VERSION, \
                     POLLBAL_STATE (in, out or moved), POLLBAL_REASON, and for moved nodes POLLBAL_FROM_POOL and \
                     POLLBAL_FROM_VERSION; alert_hook gets POLLBAL_ALERT, POLLBAL_ALERT_STATE (begin, still or over), \
                     POLLBAL_SEVERITY (degraded or critical), POLLBAL_SUBJECT, POLLBAL_TEXT and POLLBAL_LEFT_OUT. These two \
                     also get all of that, and more, as JSON on standard input.";

/// All files, by path.
pub(crate) fn files() -> io::Result<Vec<(String, Vec<u8>)>> {
    let completion = |shell| {
        let mut script = Vec::new();
        generate(shell, &mut Cli::command(), "pollbal", &mut script);
        script
    };
    let mut files = vec![
        ("man/pollbal.8".to_owned(), man_page()?),
        (
            "completions/pollbal.bash".to_owned(),
            completion(Shell::Bash),
        ),
        ("completions/_pollbal".to_owned(), completion(Shell::Zsh)),
        (
            "completions/pollbal.fish".to_owned(),
            completion(Shell::Fish),
        ),
    ];
    for command in built()
        .get_subcommands()
        .filter(|command| has_page(command))
    {
        let path = format!("man/{}.8", page_name(command));
        files.push((path, command_page(command)?));
    }
    Ok(files)
}

/// The whole command line, with what all commands share in each of them.
fn built() -> Command {
    // Its help is for the screen; the pages have sections of their own.
    let mut command = Cli::command().after_help("");
    command.build();
    command
}

/// Those that the main page describes have none of their own.
fn has_page(command: &Command) -> bool {
    !["run", "check", "help"].contains(&command.get_name())
}

fn page_name(command: &Command) -> String {
    format!("pollbal-{}", command.get_name())
}

/// The page of one command.
fn command_page(command: &Command) -> io::Result<Vec<u8>> {
    let name = page_name(command);
    let usage = command.clone().render_usage().to_string();
    let mut page = Vec::new();
    let man = Man::new(command.clone().display_name(name.clone()))
        .section("8")
        .title(name.to_uppercase())
        .date(DATE)
        .source(concat!("pollbal ", env!("CARGO_PKG_VERSION")))
        .manual("System Administration");
    man.render_title(&mut page)?;
    man.render_name_section(&mut page)?;
    let mut roff = Roff::new();
    roff.control("SH", ["SYNOPSIS"]);
    roff.text([bold(usage.trim_start_matches("Usage: "))]);
    page.write_all(roff.to_roff().as_bytes())?;
    man.render_description_section(&mut page)?;
    man.render_options_section(&mut page)?;
    let mut roff = Roff::new();
    section(&mut roff, "EXIT STATUS", &EXIT_CODES);
    roff.control("SH", ["SEE ALSO"]);
    roff.text([bold("pollbal"), roman("(8)")]);
    page.write_all(roff.to_roff().as_bytes())?;
    Ok(page)
}

fn man_page() -> io::Result<Vec<u8>> {
    let command = built();
    let man = Man::new(command.clone())
        .section("8")
        .title("POLLBAL")
        .date(DATE)
        .manual("System Administration");
    let mut page = Vec::new();
    man.render_title(&mut page)?;
    man.render_name_section(&mut page)?;
    man.render_synopsis_section(&mut page)?;
    man.render_description_section(&mut page)?;
    man.render_options_section(&mut page)?;
    page.write_all(own_sections(&command).to_roff().as_bytes())?;
    Ok(page)
}

fn own_sections(command: &Command) -> Roff {
    let mut roff = Roff::new();
    roff.control("SH", ["COMMANDS"]);
    for command in command.get_subcommands() {
        let about = command.get_about().map(ToString::to_string);
        let about = about.unwrap_or_default();
        if has_page(command) {
            let more = format!("{about}; see {}(8)", page_name(command));
            entry(&mut roff, command.get_name(), &more);
        } else {
            entry(&mut roff, command.get_name(), &about);
        }
    }
    section(&mut roff, "EXIT STATUS", &EXIT_CODES);
    section(&mut roff, "FILES", &FILES);
    section(&mut roff, "SIGNALS", &SIGNALS);
    section(&mut roff, "ENVIRONMENT", &ENVIRONMENT);
    roff.control("PP", []);
    roff.text([roman(HOOKS)]);
    section(&mut roff, "EXAMPLES", &EXAMPLES);
    roff.control("SH", ["SEE ALSO"]);
    roff.text(see_also());
    roff
}

fn section(roff: &mut Roff, title: &str, entries: &[(&str, &str)]) {
    roff.control("SH", [title]);
    for (term, text) in entries {
        entry(roff, term, text);
    }
}

fn entry(roff: &mut Roff, term: &str, text: &str) {
    roff.control("TP", []);
    roff.text([bold(term)]);
    roff.text([roman(text)]);
}

fn see_also() -> Vec<Inline> {
    vec![
        bold("perlbal"),
        roman("(1p), "),
        bold("systemctl"),
        roman("(1), "),
        bold("journalctl"),
        roman("(1), "),
        italic("/usr/share/doc/pollbal/README.md"),
    ]
}

#[allow(dead_code, reason = "a test includes this file for `files` alone")]
fn main() -> io::Result<()> {
    for (name, content) in files()? {
        std::fs::write(format!("{DIRECTORY}/{name}"), content)?;
    }
    Ok(())
}
