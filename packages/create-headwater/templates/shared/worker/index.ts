import { createHeadwater, type User } from "headwater/worker";

export { Coordinator } from "headwater/worker";

/** Who asks. While you develop, whoever the page says; a build has no such line. Put your own sign-in here before you deploy. */
function authenticate(request: Request): User | null {
  const user = import.meta.env.DEV ? request.headers.get("x-development-user") : null;
  return user ? { sub: user } : null;
}

const headwater = createHeadwater({ prefix: "/api", authenticate });

export default {
  async fetch(request: Request, env: object, context: ExecutionContext): Promise<Response> {
    return (await headwater.fetch(request, env, context)) ?? new Response("Not found", { status: 404 });
  },
};

interface ExecutionContext {
  waitUntil(promise: Promise<unknown>): void;
  passThroughOnException(): void;
}
