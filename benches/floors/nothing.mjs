// What the runtime itself takes to start.
export default { fetch: () => new Response("{}") };
