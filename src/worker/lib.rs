//! The shell: carries the core onto Cloudflare Workers.

pub mod shell;

use worker::{
    Context, DurableObject, Env, Error, Request, Response, Result, State, WebSocket,
    WebSocketIncomingMessage, durable_object, event,
};

const JSON: &str = "content-type\napplication/json";

#[event(fetch)]
async fn fetch(request: web_sys::Request, _env: Env, _context: Context) -> Result<web_sys::Response> {
    let line = shell::read_request(&request);
    let mut fields = line.split('\n');
    let (method, url) = (fields.next().unwrap_or_default(), fields.next().unwrap_or_default());
    let path = url.splitn(4, '/').nth(3).unwrap_or_default();
    if method == "GET" && path == "health" {
        let body = concat!(r#"{"status":"ok","version":""#, env!("CARGO_PKG_VERSION"), r#""}"#);
        return Ok(shell::respond_text(200, body, JSON)?);
    }
    Ok(shell::respond_text(404, r#"{"error":"not_found"}"#, JSON)?)
}

/// One space: the only writer of its changes.
#[durable_object]
struct Coordinator {
    #[expect(dead_code, reason = "the skeleton stores nothing yet")]
    state: State,
}

impl DurableObject for Coordinator {
    fn new(state: State, _env: Env) -> Self {
        Self { state }
    }

    async fn fetch(&self, _request: Request) -> Result<Response> {
        Response::error("not found", 404)
    }

    // The defaults of the trait panic, and a panic restarts every object of the isolate: all handlers answer.
    async fn alarm(&self) -> Result<Response> {
        Response::empty()
    }

    async fn connect(&self, _socket: worker::Socket) -> Result<()> {
        Ok(())
    }

    async fn websocket_message(&self, _socket: WebSocket, _message: WebSocketIncomingMessage) -> Result<()> {
        Ok(())
    }

    async fn websocket_close(
        &self,
        _socket: WebSocket,
        _code: usize,
        _reason: String,
        _clean: bool,
    ) -> Result<()> {
        Ok(())
    }

    async fn websocket_error(&self, _socket: WebSocket, _error: Error) -> Result<()> {
        Ok(())
    }
}
