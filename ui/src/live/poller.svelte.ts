// Remote data that is asked for again and again while someone looks at it. One question is out at a time.
import { text } from '$text';
import { errorOf, Fault } from './ask';
import { failed, known, ready, WAITING, type Remote } from './remote';

/** Longer than any answer that a healthy node takes (it gives its allocator 5 s), so that a hung node is told as one. */
const ANSWER_MS = 12_000;

export class Poller<T> {
  remote = $state.raw<Remote<T>>(WAITING);
  readonly #fetch: () => Promise<T>;
  readonly #period_ms: number;
  #timer: ReturnType<typeof setTimeout> | undefined;
  /** Grows with each start, stop and refresh: answers of an older round are dropped. */
  #round = 0;

  constructor(fetch: () => Promise<T>, period_ms: number) {
    this.#fetch = fetch;
    this.#period_ms = period_ms;
  }

  /** What is known, however old. */
  get known(): T | null {
    return known(this.remote);
  }

  /** Asks now and then every period, until the returned function is called: made for `$effect(() => poller.follow())`. */
  follow(): () => void {
    void this.#ask(++this.#round);
    return () => {
      this.#round++;
      clearTimeout(this.#timer);
    };
  }

  /** Asks at once: after something was done that changes the answer. */
  async refresh(): Promise<void> {
    clearTimeout(this.#timer);
    await this.#ask(++this.#round);
  }

  async #ask(round: number): Promise<void> {
    let next: Remote<T>;
    try {
      next = ready(await within(ANSWER_MS, this.#fetch()));
    } catch (thrown) {
      next = failed(errorOf(thrown), this.remote);
    }
    if (round !== this.#round) return;
    this.remote = next;
    this.#timer = setTimeout(() => void this.#ask(round), this.#period_ms);
  }
}

function within<T>(limit_ms: number, answer: Promise<T>): Promise<T> {
  let timer: ReturnType<typeof setTimeout>;
  const late = new Promise<never>((_, reject) => {
    const error = { kind: 'failed' as const, what: text.fault.silent(limit_ms / 1000), todo: text.fault.silentTodo };
    timer = setTimeout(() => reject(new Fault(error)), limit_ms);
  });
  return Promise.race([answer, late]).finally(() => clearTimeout(timer));
}
