//! The kinds of commands, as metrics count them.

use super::protocol::Command;

impl Command {
    /// What kind of command it is, in one word.
    pub(super) fn kind(&self) -> &'static str {
        match self {
            Self::Ping => "ping",
            Self::Uptime => "uptime",
            Self::DumpConfig => "dumpconfig",
            Self::Backends => "backends",
            Self::Socks => "socks",
            Self::Nodes(_) => "nodes",
            Self::States => "states",
            Self::Queues => "queues",
            Self::Pending => "pending",
            Self::NoVerify => "noverify",
            Self::Proc => "proc",
            Self::ShowPool(_) => "show_pool",
            Self::ShowService { .. } => "show_service",
            Self::CountMembers | Self::ShowPools { .. } => "show_pools",
            Self::CreatePool(_) => "create_pool",
            Self::Add(..) => "add",
            Self::AddSpare(..) => "add_spare",
            Self::Remove(..) => "remove",
            Self::Seal { .. } => "seal",
            Self::Wake { .. } => "wake",
            Self::Reload { .. } => "reload",
        }
    }
}
