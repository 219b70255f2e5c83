import { useEffect, useState, useSyncExternalStore } from "react";
import type { Observable } from "headwater-client/dexie";
import type { Exchange } from "./exchange.ts";
import type { Network } from "./network.ts";

export const useObservable = <T,>(observable: Observable<T>): T => useSyncExternalStore(observable.subscribe, observable.getSnapshot);

/** The last exchanges, newest first. */
export function useExchanges(network: Network, limit: number): Exchange[] {
  const [exchanges, setExchanges] = useState<Exchange[]>([]);
  useEffect(() => network.watch((exchange) => setExchanges((before) => [exchange, ...before].slice(0, limit))), [network, limit]);
  return exchanges;
}

/** What a dialog does while it asks the server: it is busy, and shows what was refused. */
export function useAsking(): { isBusy: boolean; refusal: string | null; ask: (work: () => Promise<unknown>) => void } {
  const [isBusy, setBusy] = useState(false);
  const [refusal, setRefusal] = useState<string | null>(null);
  const ask = (work: () => Promise<unknown>) => {
    setBusy(true);
    setRefusal(null);
    work().catch((error: Error) => setRefusal(error.message)).finally(() => setBusy(false));
  };
  return { isBusy, refusal, ask };
}
