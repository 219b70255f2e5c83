import { createHeadwater, type User } from "headwater/worker";

export { Coordinator } from "headwater/worker";

interface Env {
  ENVIRONMENT?: string;
}

/** Who asks. While you develop, whoever the page says; put your own sign-in here before you deploy. */
function authenticate(request: Request, env: Env): User | null {
  if (env.ENVIRONMENT !== "development") return null;
  const user = request.headers.get("x-development-user");
  return user ? { sub: user } : null;
}

const headwater = createHeadwater<Env>({ prefix: "/api", authenticate });

export default {
  async fetch(request: Request, env: Env, context: ExecutionContext): Promise<Response> {
    return (await headwater.fetch(request, env, context)) ?? new Response("Not found", { status: 404 });
  },
};

interface ExecutionContext {
  waitUntil(promise: Promise<unknown>): void;
  passThroughOnException(): void;
}
