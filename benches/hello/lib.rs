//! The least that workers-rs makes of a Worker with one object.

use worker::{Context, DurableObject, Env, Request, Response, Result, State, durable_object, event};

#[event(fetch)]
async fn fetch(_request: Request, _env: Env, _context: Context) -> Result<Response> {
    Response::ok("hello")
}

/// An object that says hello.
#[durable_object]
struct Hello;

impl DurableObject for Hello {
    fn new(_state: State, _env: Env) -> Self {
        Self
    }

    async fn fetch(&self, _request: Request) -> Result<Response> {
        Response::ok("hello")
    }
}
