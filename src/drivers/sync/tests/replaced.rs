//! Another load balancer takes the place of the one that was read.

use std::time::Duration;

use tokio::time::{Instant, advance};

use super::site::{Site, member, node};
use crate::drivers::recorder::backend::Place;

#[tokio::test(start_paused = true)]
async fn what_takes_its_place_is_noticed_at_the_next_ping_and_read_at_once() {
    let begin = Instant::now();
    let mut site = Site::start("replaced");
    site.snapshot(&[("web", &[1, 2])]).await;
    site.there()
        .replace([(member("web", 9), Place::Serving)].into());
    site.there().busy.insert(node(9));
    site.until(|status| status.draining.contains_key(&node(9)))
        .await;
    // The connection is checked a bit more often than every second.
    assert!(begin.elapsed() < Duration::from_millis(900));
    site.until(|status| status.in_sync).await;
    assert_eq!(site.serving("web"), [1, 2]);
    assert_eq!(site.there().attempts, 2);
}

#[tokio::test(start_paused = true)]
async fn what_is_replaced_whenever_it_was_read_is_not_read_all_the_time() {
    let mut site = Site::start("fickle");
    site.snapshot(&[("web", &[1, 2])]).await;
    site.there().delay = Duration::from_millis(1);
    let (mut read, attempts) = (0, site.there().attempts);
    let end = Instant::now() + Duration::from_secs(2);
    while Instant::now() < end {
        let reads = site.there().reads;
        if reads > read {
            read = reads;
            site.there().replace([].into());
        }
        advance(Duration::from_millis(1)).await;
        tokio::task::yield_now().await;
    }
    let attempts = site.there().attempts - attempts;
    assert!((5..60).contains(&attempts), "{attempts}");
    site.until(|status| status.in_sync).await;
}
