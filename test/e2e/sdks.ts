import { aiSdk } from './ai-sdk.ts';
import { anthropicSdk } from './anthropic-sdk.ts';
import { googleSdk } from './google-sdk.ts';
import { groqSdk } from './groq-sdk.ts';
import { openaiSdk } from './openai-sdk.ts';
import type { Sdk } from './sdk.ts';

export const sdks: readonly Sdk[] = [openaiSdk, anthropicSdk, googleSdk, groqSdk, aiSdk];
