//! The kinds of load balancers: the only place that knows all of them.

use std::ops::Deref;

use super::Settings;
use super::haproxy::settings::{self as haproxy, HaproxyNames, HaproxySettings};
use super::perlbal::settings::{self as perlbal, PerlbalNames, PerlbalSettings};
use crate::config::reader::ObjectReader;
use crate::model::names::PoolName;

/// What settings of load balancers are read with besides their own reader: what `pools` says of
/// names there.
#[derive(Clone, Debug, Default)]
pub(crate) struct PoolKeys {
    /// The values of `perlbal_pool`.
    pub(crate) perlbal: PerlbalNames,
    /// The values of `haproxy_backend`.
    pub(crate) haproxy: HaproxyNames,
}

impl PoolKeys {
    /// Reads a pool's names from its object.
    pub(crate) fn read(&mut self, object: &ObjectReader<'_>, pool: &PoolName) {
        perlbal::NAME_KEY.read(object, pool, &mut self.perlbal);
        haproxy::NAME_KEY.read(object, pool, &mut self.haproxy);
    }

    /// Reports declared pools that would share one name somewhere, before they do.
    pub(crate) fn report_shared<'a>(
        &self,
        reader: &ObjectReader<'_>,
        declared: impl Iterator<Item = &'a PoolName> + Clone,
    ) {
        perlbal::NAME_KEY.report_shared(reader, declared.clone(), &self.perlbal);
        haproxy::NAME_KEY.report_shared(reader, declared, &self.haproxy);
    }
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
