"""The page's style sheet: light and dark by the reader's setting, one column on a phone."""

CSS = """
:root {
  color-scheme: light dark;
  --page: #fbfaf7; --card: #ffffff; --ink: #1c1b19; --soft: #65625c; --line: #e4e1da; --bad: #b3261e; --good: #156f3e;
  --warn: #b88200; --heat: 66%; --shade: rgb(0 0 0 / .1);
  --s0: #2a6fdb; --s1: #d95f2b; --s2: #12875a; --s3: #9a5bd0; --s4: #b88200; --s5: #c2387f; --s6: #3a8ea5;
  --s7: #6b6b6b;
}
@media (prefers-color-scheme: dark) {
  :root {
    --page: #171614; --card: #211f1c; --ink: #edebe6; --soft: #a5a198; --line: #393631; --bad: #ff8a80; --good: #6fd39b;
    --warn: #e0b13c; --heat: 56%; --shade: rgb(0 0 0 / .5);
    --s0: #6ea2f5; --s1: #f08a5b; --s2: #43c08d; --s3: #bd8df0; --s4: #e0b13c; --s5: #ee78ae; --s6: #74c4da;
    --s7: #aaaaaa;
  }
}
* { box-sizing: border-box; }
body {
  margin: 0; background: var(--page); color: var(--ink); line-height: 1.5;
  font: 16px/1.5 system-ui, -apple-system, "Segoe UI", Roboto, sans-serif;
}
main { max-width: 1160px; margin: 0 auto; padding: 28px 20px 64px; }
h1 { font-size: 30px; line-height: 1.15; margin: 0 0 10px; letter-spacing: -.015em; text-wrap: balance; }
h2 { font-size: 20px; margin: 44px 0 4px; letter-spacing: -.01em; }
h3 { font-size: 15px; margin: 0 0 10px; }
h4 { font-size: 13px; font-weight: 550; color: var(--soft); margin: 0 0 8px; }
a { color: inherit; }
nav { display: flex; flex-wrap: wrap; gap: 4px 16px; font-size: 14px; margin-top: 12px; }
nav a { color: var(--soft); text-decoration-color: var(--line); text-underline-offset: 3px; }
p { margin: 4px 0 14px; max-width: 72ch; }
p.note, .note { color: var(--soft); font-size: 14px; }
code, pre { font: 13px/1.5 ui-monospace, "SF Mono", Menlo, Consolas, monospace; }
code { overflow-wrap: anywhere; }
pre { white-space: pre-wrap; overflow-wrap: anywhere; margin: 0; }
.card { background: var(--card); border: 1px solid var(--line); border-radius: 10px; padding: 18px; min-width: 0; }
.tiles { display: grid; grid-template-columns: repeat(4, 1fr); gap: 12px; margin: 22px 0 8px; }
.tile .value { font-size: 28px; font-weight: 650; line-height: 1.15; letter-spacing: -.02em; }
.tile .label { color: var(--soft); font-size: 13px; margin-top: 2px; }
.two { display: grid; grid-template-columns: 1fr 1fr; gap: 14px; align-items: start; }
.many { display: grid; grid-template-columns: repeat(auto-fill, minmax(min(100%, 420px), 1fr)); gap: 14px; }
.many.wide { grid-template-columns: repeat(auto-fill, minmax(min(100%, 620px), 1fr)); }
.stack > * + * { margin-top: 14px; }
.below { margin-top: 14px; }
.last { margin: 0; }
.scroll { overflow-x: auto; position: relative;  /* a shade on the right as long as there is more to the right */
  background: linear-gradient(to left, var(--card) 40%, transparent) right / 40px 100% no-repeat local,
    linear-gradient(to left, var(--shade), transparent) right / 14px 100% no-repeat scroll; }
table { border-collapse: collapse; width: 100%; font-size: 14px; font-variant-numeric: tabular-nums; }
th, td { padding: 7px 10px; border-bottom: 1px solid var(--line); text-align: right; vertical-align: middle; }
th { color: var(--soft); font-weight: 550; font-size: 13px; }
th:first-child, td:first-child { text-align: left; padding-left: 0; }
tbody:last-child tr:last-child td { border-bottom: 0; }
tr.best td, td.best { font-weight: 650; }
td.up { color: var(--good); font-weight: 650; }
td.down { color: var(--bad); font-weight: 650; }
.scroll th:first-child, .scroll td:first-child { position: sticky; left: 0; background: var(--card); }
.under { display: block; color: var(--soft); font-size: 12px; font-weight: 400; }
sup { position: absolute; font-size: 11px; line-height: 1; margin-left: 2px; }
.dense td { padding-top: 4px; padding-bottom: 4px; }
.dense th, .dense td { padding-right: 6px; font-size: 13px; }
.dense td + td, .dense th + th { padding-left: 6px; }
.notes { margin: 14px 0 0; padding-left: 20px; font-size: 14px; overflow-wrap: anywhere; }
.notes strong { font-weight: 600; margin-right: 4px; }
.figures td, .figures th { white-space: nowrap; padding-right: 8px; }
.figures td + td, .figures th + th { padding-left: 8px; }
td.text, th.text { text-align: left; overflow-wrap: anywhere; }
.key { display: inline-flex; align-items: baseline; overflow-wrap: break-word; }
.key > span { min-width: 0; }
.swatch { width: 20px; margin-right: 8px; align-self: center; flex: none; }
.legend { display: flex; flex-wrap: wrap; gap: 3px 18px; font-size: 13px; color: var(--soft); margin: 0 0 12px; }
.bars { display: grid; grid-template-columns: max-content 1fr; gap: 10px 14px; align-items: center; font-size: 14px; }
.bars .row { display: grid; gap: 3px; min-width: 0; }
.bar { display: flex; align-items: center; gap: 8px; font-size: 12.5px; font-variant-numeric: tabular-nums; }
.bar i { height: 11px; border-radius: 2px 4px 4px 2px; background: var(--c); flex: none; min-width: 2px;
  width: calc(var(--v) * (100% - 74px)); }
.bar i.again { background: repeating-linear-gradient(115deg, var(--c) 0 5px, transparent 5px 7px); }
.bar span { color: var(--soft); white-space: nowrap; }
.plot svg { width: 100%; height: auto; display: block; overflow: visible; stroke-linejoin: round; }
.plot text { font: 12.5px system-ui, sans-serif; font-variant-numeric: tabular-nums; }
.heat { max-width: 640px; }
.heat td, .heat th { padding: 0; border: 0; text-align: center; font-size: 12px; }
.heat td { height: 28px; min-width: 28px; border: 1px solid var(--card); border-radius: 4px;
  background: color-mix(in srgb, var(--s0) calc(var(--v) * var(--heat)), var(--page)); }
.heat tr > th:first-child { text-align: left; padding-right: 10px; color: var(--ink); font-weight: 400; }
.heat thead th { vertical-align: bottom; }
.heat thead th div { writing-mode: vertical-rl; transform: rotate(180deg); margin: 0 auto; padding-top: 6px; }
.samples { display: grid; grid-template-columns: 76px 1fr 1fr; gap: 12px 22px; align-items: start; }
.samples > .head { color: var(--soft); font-size: 13px; }
.samples > .rule { grid-column: 1 / -1; border-top: 1px solid var(--line); }
.samples > .class { font-weight: 600; padding-top: 4px; }
.images { display: grid; grid-template-columns: repeat(6, minmax(0, 1fr)); gap: 8px; }
figure { margin: 0; min-width: 0; }
figure img { width: 100%; height: auto; max-width: 96px; aspect-ratio: 1; image-rendering: pixelated;
  display: block; border: 1px solid var(--line); border-radius: 6px; }
figcaption { font-size: 11.5px; line-height: 1.3; color: var(--soft); margin-top: 4px; overflow-wrap: anywhere; }
details { margin-top: 12px; }
details > .many, details > .samples, details > .scroll { margin-top: 12px; }
.card > details:first-child { margin-top: 0; }
details.inner { margin: 8px 0 0 16px; }
summary { cursor: pointer; color: var(--soft); font-size: 14px; overflow-wrap: anywhere; }
.top td { vertical-align: top; }
.top th { white-space: nowrap; }
.top td:first-child { min-width: 74px; overflow-wrap: anywhere; }
.top td.rounds { overflow-wrap: normal; min-width: 64px; }
.warnings { border-color: var(--warn); border-left-width: 4px; margin: 22px 0 0; }
.warnings ul { margin: 0; padding-left: 20px; font-size: 14px; overflow-wrap: anywhere; }
.warnings li + li { margin-top: 4px; }
.failed { color: var(--bad); }
.only-phone { display: none; }
@media (max-width: 760px) {
  main { padding: 20px 14px 48px; }
  h1 { font-size: 25px; }
  .tiles { grid-template-columns: 1fr 1fr; }
  .two { grid-template-columns: minmax(0, 1fr); }
  .card { padding: 14px; }
  .tile .value { font-size: 23px; }
  .samples { grid-template-columns: minmax(0, 1fr); }
  .samples > .head { display: none; }
  .only-phone { display: block; }
  .heat td { min-width: 22px; height: 25px; font-size: 11px; }
  .heat th { font-size: 11px; }
  .heat tr > th:first-child { max-width: 96px; padding-right: 6px; overflow-wrap: anywhere; }
  .figures .key { width: max-content; max-width: 116px; white-space: normal; }
  .figures .swatch { width: 16px; margin-right: 6px; }
  .dense th, .dense td { font-size: 12px; padding-right: 3px; }
  .dense td + td, .dense th + th { padding-left: 4px; }
  .dense th { white-space: normal; vertical-align: bottom; }
  .dense .key { max-width: 90px; }
  .dense .swatch { width: 12px; margin-right: 5px; }
  .bars { gap: 10px; }
  .plot svg { max-width: 600px; margin: 0 auto; }
}
@media (max-width: 480px) {
  .plot text { font-size: 16.5px; }
  .samples .drawn { grid-template-columns: repeat(3, minmax(0, 1fr)); }
}
@media (min-width: 761px) { .where .heat thead th { height: 84px; } }
@media print { .card { break-inside: avoid; } }
"""
