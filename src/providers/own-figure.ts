import { isObject, type JsonObject, type JsonValue, objectAt } from '../dialects/dialect.ts';

export interface OwnFigure {
  readonly nanoUsd: bigint;
  readonly version: string;
}

/**
 * What the provider itself says that the request cost. xAI: `cost_in_usd_ticks`, ten thousand million to the dollar, after all discounts and
 * with its tools (docs.x.ai/developers/cost-tracking). OpenRouter: `cost`, in dollars; with a key of one's own at the maker of the model that
 * is its fee alone, and `cost_details.upstream_inference_cost` comes on top (openrouter.ai/docs/use-cases/usage-accounting). Nobody else's
 * figure is taken.
 */
export function ownFigure(list: string | null, usage: JsonObject | null): OwnFigure | null {
  if (usage === null) return null;
  if (list === 'xai') {
    const ticks = usage['cost_in_usd_ticks'];
    if (typeof ticks !== 'number' || !Number.isSafeInteger(ticks) || ticks < 0) return null;
    return { nanoUsd: (BigInt(ticks) + 5n) / 10n, version: 'xai:ticks' };
  }
  if (list !== 'openrouter') return null;
  const cost = nanoOf(usage['cost']);
  const isOwnKey = usage['is_byok'] === true;
  const upstream = isOwnKey ? nanoOf(detailsOf(usage)['upstream_inference_cost']) : 0n;
  if (cost === null || upstream === null) return null;
  return { nanoUsd: cost + upstream, version: 'openrouter:cost' };
}

function detailsOf(usage: JsonObject): JsonObject {
  return isObject(usage['cost_details']) ? objectAt(usage, 'cost_details') : {};
}

/** Dollars as JSON has them, in nano-dollars, half up. The number's shortest decimal is what the provider wrote. */
function nanoOf(dollars: JsonValue | undefined): bigint | null {
  if (typeof dollars !== 'number' || !(dollars >= 0 && dollars < 1e6)) return null;
  const [, whole = '', fraction = '', exponent = '0'] =
    /^(\d+)(?:\.(\d+))?(?:e(-\d+))?$/.exec(String(dollars)) ?? [];
  if (whole === '') return null;
  const scale = 9 - fraction.length + Number(exponent);
  const digits = BigInt(whole + fraction);
  if (scale >= 0) return digits * 10n ** BigInt(scale);
  const down = 10n ** BigInt(-scale);
  return (2n * digits + down) / (2n * down);
}
