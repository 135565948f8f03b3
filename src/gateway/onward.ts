import type { AttemptFailure, FailureKind } from './attempt-failure.ts';
import { stepAfter, type Situation } from './attempt-step.ts';
import {
  questionOf,
  ready,
  type Asked,
  type DecisionDeps,
  type Dispatch,
  type Undecided,
} from './decision.ts';
import { nextTarget, sameTarget } from './resolve.ts';
import type { Target } from './target.ts';

export interface Made extends Pick<Situation, 'attempts' | 'wasIll' | 'leftMs' | 'isIdempotent'> {
  readonly failure: AttemptFailure;
  readonly dispatch: Dispatch;
}

export interface NextAttempt {
  readonly dispatch: Dispatch;
  /** For the metric: what the last attempt failed of, or that another model is asked now. */
  readonly reason: FailureKind | 'fallback';
}

/**
 * Where one call goes after its first attempt. Each further one asks anew what the caller may do: a key that was disabled meanwhile is
 * not used.
 */
export class Onward {
  readonly #deps: DecisionDeps;
  readonly #undecided: Undecided;
  readonly #asked: Asked;
  readonly #tried: Target[] = [];
  #staleRepeats = 0;

  constructor(deps: DecisionDeps, undecided: Undecided, asked: Asked) {
    this.#deps = deps;
    this.#undecided = undecided;
    this.#asked = asked;
  }

  /**
   * @param pause waits, and says whether the call still wants to go on
   * @returns null where nothing follows
   * @throws {SallyportError} as `ready`: the next target cannot be used
   */
  async after(
    { failure, dispatch: last, ...made }: Made,
    pause: (ms: number) => Promise<boolean>,
  ): Promise<NextAttempt | null> {
    const { resolver } = this.#deps;
    const { held } = this.#undecided;
    const { body } = last;
    const caller = await held.latest();
    const { policy } = caller;
    const step = stepAfter(failure, {
      ...made,
      policy,
      staleRepeats: this.#staleRepeats,
      isRepeatable: body === null || Buffer.isBuffer(body),
      jitter: resolver.random(),
    });
    if (step.type === 'stop') return null;
    const question = questionOf(this.#undecided, this.#asked);
    if (step.type === 'other') {
      this.#tried.push(last.target);
      const target = nextTarget(resolver, caller, question, this.#tried);
      if (target !== null) {
        const reason = target.modelAt === last.target.modelAt ? failure.kind : 'fallback';
        return { dispatch: await ready(this.#deps, this.#undecided, this.#asked, target), reason };
      }
    }
    const waitMs = step.type === 'again' ? step.waitMs : step.againAfterMs;
    if (waitMs === null || !(await pause(waitMs))) return null;
    const target = sameTarget(resolver, await held.latest(), question, last.target);
    if (target === null) return null;
    if (failure.kind === 'stale_socket') this.#staleRepeats += 1;
    const dispatch =
      target === last.target ? last : await ready(this.#deps, this.#undecided, this.#asked, target);
    return { dispatch, reason: failure.kind };
  }
}
