// A way to the server that can be cut, with whatever is on it, and be there again at the same address.

import { type AddressInfo, connect, createServer, type Socket } from "node:net";

export class Proxy {
  url = "";
  #target: number;
  #isCut = false;
  #isMute = false;
  #ends = new Set<Socket>();
  /** The ends to the server. */
  #far = new Set<Socket>();
  #server = createServer((near) => {
    if (this.#isCut) return void near.destroy();
    const far = connect(this.#target, "127.0.0.1");
    this.#far.add(far);
    for (const [one, other] of [[near, far], [far, near]] as const) {
      this.#ends.add(one);
      one.on("error", () => {}).on("close", () => {
        this.#ends.delete(one);
        this.#far.delete(one);
        other.destroy();
      });
      if (one === near || !this.#isMute) one.pipe(other);
    }
  });

  constructor(url: string) {
    this.#target = Number(new URL(url).port);
  }

  async start(): Promise<this> {
    await new Promise<void>((ready) => this.#server.listen(0, "127.0.0.1", ready));
    this.url = `http://127.0.0.1:${(this.#server.address() as AddressInfo).port}`;
    return this;
  }

  /** Nothing passes any more, and what is under way breaks off. */
  cut(): void {
    this.#isCut = true;
    for (const end of this.#ends) end.destroy();
  }

  /** What is asked reaches the server, and no answer comes back. */
  mute(): void {
    this.#isMute = true;
    for (const far of this.#far) far.unpipe().pause();
  }

  /** The way is open again, to wherever the server is now. What is under way breaks off. */
  mend(url?: string): void {
    this.cut();
    if (url) this.#target = Number(new URL(url).port);
    this.#isCut = this.#isMute = false;
  }

  stop(): void {
    this.cut();
    this.#server.close();
  }
}
