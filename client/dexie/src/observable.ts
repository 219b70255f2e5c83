// A value that can be watched: by Svelte (a store), RxJS and `useObservable` (subscribe), React (getSnapshot).

export interface Subscription {
  (): void;
  unsubscribe(): void;
}
export type Observer<T> = ((value: T) => void) | { next?: (value: T) => void };

export class Observable<T> {
  #value: T;
  readonly #observers = new Set<(value: T) => void>();

  constructor(value: T) {
    this.#value = value;
  }

  /** Calls at once, and at each change. What it returns ends that, called or as `.unsubscribe()`. */
  subscribe = (observer: Observer<T>): Subscription => {
    const call = typeof observer === "function" ? observer : (value: T) => observer.next?.(value);
    // The same function given twice is two subscriptions.
    const one = (value: T) => call(value);
    this.#observers.add(one);
    const unsubscribe = () => void this.#observers.delete(one);
    one(this.#value);
    return Object.assign(unsubscribe, { unsubscribe });
  };

  /** The value now. The same object until it changes. */
  getSnapshot = (): T => this.#value;

  /** For React's `useSyncExternalStore`, and for whoever reads once. */
  get value(): T {
    return this.#value;
  }

  /** RxJS takes for an observable what has this. */
  [Symbol.for("observable") as unknown as "@@observable"](): this {
    return this;
  }

  set(value: T): void {
    if (Object.is(value, this.#value)) return;
    this.#value = value;
    for (const observer of [...this.#observers]) observer(value);
  }
}
