//! Pulls at locations: each in a request of its own, or among several in one.

use serde::Deserialize;
use serde_json::value::RawValue;

use super::{
    World,
    location::{Reader, Response, Wire, body_text},
    space::Space,
    visits::{Around, Driven},
};
use crate::{
    edge::visit::{Part, PartDone},
    error::ApiError,
    fronts::headwater::{
        answer::{Format, PullAnswer, Source, json_page},
        pull::PullRequest,
        reply::{Headers, Reply},
    },
    snapshot::keys::Scope,
};

/// What was noted of a pull that was one of several in its request.
#[derive(Debug)]
pub(super) struct PartNoted {
    scope: Option<Scope>,
    source: Source,
    tag: String,
    error: Option<ApiError>,
}

#[derive(Deserialize)]
struct Several<'a> {
    #[serde(borrow)]
    pulls: Vec<One<'a>>,
}

#[derive(Deserialize)]
struct One<'a> {
    status: u16,
    #[serde(borrow)]
    body: Option<&'a RawValue>,
}

impl World {
    /// What `location` answers to a pull. I9: nothing but what is of the space that the reader's grant is for, and nothing at
    /// all without one or once the coordinator has refused.
    pub(super) fn answer(
        &mut self,
        reader: &Reader,
        location: usize,
        (body, asked): (&str, &PullRequest),
        format: Format,
        chunks: Option<usize>,
    ) -> Response {
        let mut around = Around { body, chunks, ..Around::default() };
        // By the time, so that no dice are thrown for it.
        let is_among_others = format == Format::Json && self.now.0.is_multiple_of(4);
        let (scope, response) = match is_among_others {
            true => self.answer_among_others(reader, location, asked, &mut around),
            false => self.answer_alone(reader, location, format, &mut around),
        };
        let space = &self.spaces[reader.space];
        if !around.is_answered {
            self.check_shows_writes(location, &space.hash, asked, &response);
        }
        if let (Ok(wire), Some(scope)) = (&response.body, scope) {
            let oracle = space.oracle_of(&scope);
            oracle.check_reader(reader.user, self.now);
            oracle.check_brand(wire.text(), "the answer of an edge");
            let refusal = around.refusal;
            assert!(
                refusal.is_none(),
                "I9: the coordinator has refused, {refusal:?}, and the edge has answered"
            );
        }
        response
    }

    fn answer_alone(
        &mut self,
        Reader { user, space, grant }: &Reader,
        location: usize,
        format: Format,
        around: &mut Around<'_>,
    ) -> (Option<Scope>, Response) {
        let path = match &self.spaces[*space].id {
            Some(id) => format!("/sync/pull?space={id}"),
            None => "/sync/pull".to_owned(),
        };
        let grant = grant.as_deref().unwrap_or_default();
        let begun = self.begin_visit(location, (*user, *space), ("POST", &path), format, grant);
        let (mut driven, effect) = begun;
        let reply = self.drive(&mut driven, effect, around);
        let is_opened = reply.is_ok();
        let scope = is_opened.then(|| driven.visit.target().scope().clone());
        (scope, self.response(driven, reply, around))
    }

    /// The second of three in a request, whose others are refused: one has no grant, one is not a pull.
    fn answer_among_others(
        &mut self,
        Reader { user, space, grant }: &Reader,
        location: usize,
        asked: &PullRequest,
        around: &mut Around<'_>,
    ) -> (Option<Scope>, Response) {
        let Space { id, hash, .. } = &self.spaces[*space];
        let (id, hash) = (id.as_ref().map_or("~", |id| id.as_str()).to_owned(), hash.clone());
        let grant = grant.as_deref().map(|grant| format!(",\"grant\":\"{grant}\"")).unwrap_or_default();
        let fields = around.body.trim_start_matches('{');
        let comma = if fields == "}" { "" } else { "," };
        let pull = format!(r#"{{"space":"{id}"{grant}{comma}{fields}"#);
        let body = format!(r#"{{"pulls":[{{"space":"nobodys"}},{pull},{{"sinse":1}}]}}"#);
        let begun = self.begin_visit(location, (*user, *space), ("POST", "/sync/pulls"), Format::Json, "");
        let (mut driven, effect) = begun;
        let mut several = Around { body: &body, clock: around.clock, ..Around::default() };
        let reply = self.drive(&mut driven, effect, &mut several).expect("several pulls are answered");
        (around.refusal, around.is_answered) = (several.refusal.take(), several.is_answered);
        let mut noted = several.parts.into_iter();
        let (Some(refused), Some(part), Some(wrong)) = (noted.next(), noted.next(), noted.next()) else {
            panic!("I8: a pull of three has no answer")
        };
        assert_eq!(refused.error, Some(ApiError::GrantRequired), "I9: a pull has another's rights");
        assert!(matches!(wrong.error, Some(ApiError::Malformed(_))), "{wrong:?}");
        let text = body_text(&reply).to_owned();
        let several: Several<'_> = serde_json::from_str(&text).expect("an answer is JSON");
        let [_, One { status, body }, _] = &several.pulls[..] else { panic!("three pulls: {text}") };
        let PartNoted { scope, source, tag, error } = part;
        let body = match (error, body) {
            (Some(error), _) => {
                assert_eq!(*status, error.status());
                Err(error)
            }
            (None, Some(body)) => Ok(Wire::Json(body.get().to_owned())),
            (None, None) => {
                assert_eq!(*status, 304);
                let position = asked.position().expect("who has nothing has something new");
                Ok(Wire::Json(json_page(&PullAnswer::Nothing { position }, &hash)))
            }
        };
        (scope, Response { body, source, usage: driven.visit.usage(), tag })
    }

    /// One after the other, which is one of the orders in which they can end.
    pub(super) fn carry_parts(
        &mut self,
        driven: &mut Driven,
        parts: Vec<Part>,
        around: &mut Around<'_>,
    ) -> Vec<PartDone> {
        let mut done = Vec::new();
        for Part { visit, effect } in parts {
            let Driven { location, ref isolate, space, .. } = *driven;
            let mut part = Driven { location, isolate: isolate.clone(), visit, space, waited_ms: 0 };
            let answer = self.drive(&mut part, effect, around);
            driven.waited_ms = driven.waited_ms.max(part.waited_ms);
            let (source, tag) = match &answer {
                Ok(Reply { headers: Headers::Pull(headers), .. }) => (headers.source, headers.tag.clone()),
                _ => (Source::Edge, String::new()),
            };
            let error = answer.as_ref().err().cloned();
            let scope = error.is_none().then(|| part.visit.target().scope().clone());
            around.parts.push(PartNoted { scope, source, tag, error });
            done.push(PartDone { visit: part.visit, answer });
        }
        done
    }
}
