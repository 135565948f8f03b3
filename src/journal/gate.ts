/** Why the gate is closed. `full`: 90 % of JOURNAL_MAX_BYTES are used, and the rest is kept for the ends of what has begun. */
export type GateReason = 'failing' | 'full' | 'closing';

/** The door before every key: open only while records can be made durable. */
export interface Gate {
  isOpen(): boolean;
  is(reason: GateReason): boolean;
  set(reason: GateReason, holds: boolean): void;
}

/** `onChange` hears each change from open to closed and back, not each reason. */
export function createGate(onChange: (closed: boolean) => void): Gate {
  const reasons = new Set<GateReason>();
  return Object.freeze({
    isOpen: () => reasons.size === 0,
    is: (reason: GateReason) => reasons.has(reason),
    set(reason: GateReason, holds: boolean) {
      const wasOpen = reasons.size === 0;
      if (holds) reasons.add(reason);
      else reasons.delete(reason);
      if (wasOpen !== (reasons.size === 0)) onChange(wasOpen);
    },
  });
}
