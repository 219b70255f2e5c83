//! What is put into KV: I4 to I7, and that it is this space's own.

use std::fmt::Write;

use super::Oracle;
use crate::{
    ids::ContentHash,
    sim::{
        client::Client,
        host::Host,
        kv::{Entry, Kv},
    },
    snapshot::{head::Head, keys::Scope},
    time::Millis,
};

impl Oracle {
    /// I4: published is at most durable and never falls. I5, I6, I7: each head that was put names objects that are there,
    /// live as long and hash to their names, and together they hold the state at its version. I9: nothing is put under
    /// the name of another space.
    ///
    /// Looks at those puts to `kv` from number `first` on, all of which this space's host has sent.
    pub fn check_publication(&mut self, host: &mut Host, kv: &Kv, first: usize, scope: &Scope, now: Millis) {
        if self.is_gone() {
            assert!(kv.puts.len() == first, "I9: of a space that is gone something is put");
            return;
        }
        let durable = host.core(now).position();
        let published =
            host.core(now).publisher().row().published.as_ref().map(|published| published.position.clone());
        assert!(
            published.as_ref().is_none_or(|published| *published <= durable),
            "I4: published above durable"
        );
        assert!(published >= self.published, "I4: published fell from {:?} to {published:?}", self.published);
        self.published = published;
        self.learn_epoch(&durable.epoch);
        for (key, entry) in &kv.puts[first..] {
            self.check_brand(&entry.value, key);
            if *key == scope.head_key() {
                self.check_head(scope, entry, kv, now);
            } else {
                let hash = ContentHash::of(entry.value.as_bytes());
                assert!(*key == scope.object_key(&hash), "I6, I9: {key} is not where this object belongs");
            }
        }
    }

    fn check_head(&self, scope: &Scope, entry: &Entry, kv: &Kv, now: Millis) {
        let (head, tail) = Head::decode(&entry.value, scope).expect("I5: a head that can be read");
        let mut text = String::new();
        for part in head.parts() {
            let key = scope.object_key(&part.sha256.0);
            let Some(object) = kv.central(&key, now) else {
                assert!(kv.lost.contains(&key), "I5: a head names an object that is not there");
                return;
            };
            assert!(object.expires >= entry.expires, "I5: a head outlives an object");
            text.push_str(&object.value);
        }
        text.push_str(tail);
        let mut loaded = Client::new(0, 0, 0);
        let start =
            format!("{{\"epoch\":\"{}\",\"version\":{},\"reset\":false}}\n", head.epoch, head.version);
        let _ = writeln!(text, "{{\"end\":true,\"epoch\":\"{}\",\"version\":{}}}", head.epoch, head.version);
        loaded.take_stream(0, None, &(start + &text));
        self.check_client(&loaded, &head.position());
    }
}
