//! The kinds of load balancers: the only place that knows all of them.

use std::ops::Deref;

use super::Settings;
use super::haproxy::settings::{HaproxyNames, HaproxySettings};
use super::perlbal::settings::{PerlbalNames, PerlbalSettings};
use crate::config::reader::ObjectReader;

/// What settings of load balancers are read with besides their own reader: what `pools` says of
/// names there.
#[derive(Clone, Debug, Default)]
pub(crate) struct PoolKeys {
    /// The values of `perlbal_pool`.
    pub(crate) perlbal: PerlbalNames,
    /// The values of `haproxy_backend`.
    pub(crate) haproxy: HaproxyNames,
}

/// Defines [`DriverSettings`]. A new kind of load balancer is one more line.
macro_rules! kinds {
    ($($(#[$attribute:meta])* $kind:ident($settings:ty)),+ $(,)?) => {
        /// The settings of a load balancer of any kind.
        #[derive(Clone, Debug, PartialEq, Eq)]
        pub enum DriverSettings {
            $(
                $(#[$attribute])*
                #[doc = concat!("A load balancer with [`", stringify!($settings), "`].")]
                $kind($settings),
            )+
        }

        impl DriverSettings {
            /// Reads the load balancers of each kind from the configuration.
            pub(crate) fn read(reader: &ObjectReader<'_>, keys: &PoolKeys) -> Vec<Self> {
                let mut all = Vec::new();
                $(
                    $(#[$attribute])*
                    all.extend(<$settings>::read(reader, keys).into_iter().map(Self::$kind));
                )+
                all
            }
        }

        impl Deref for DriverSettings {
            type Target = dyn Settings;

            fn deref(&self) -> &Self::Target {
                match self {
                    $($(#[$attribute])* Self::$kind(settings) => settings,)+
                }
            }
        }
    };
}

kinds! {
    Perlbal(PerlbalSettings),
    Haproxy(HaproxySettings),
    #[cfg(test)]
    Recorder(super::recorder::RecorderSettings),
}
