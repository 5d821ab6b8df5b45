#include "app/report/page_style.h"

#include "app/figure/figure.h"

namespace headlight::report {
namespace {

constexpr const char* kLight =
    "--ground:#fff;--text:#1f2328;--muted:#59636e;--line:#d8dee4;--panel:#f6f8fa;--accent:#0969da;--heat:212,80,10;";
constexpr const char* kDark =
    "--ground:#0d1117;--text:#e6edf3;--muted:#9da7b3;--line:#30363d;--panel:#161b22;--accent:#58a6ff;--heat:255,140,"
    "60;";

constexpr const char* kRules = R"(
*{box-sizing:border-box}
body{margin:0;background:var(--ground);color:var(--text);font:16px/1.5 system-ui,-apple-system,"Segoe UI","DejaVu Sans",sans-serif;-webkit-text-size-adjust:100%}
main{max-width:1060px;margin:0 auto;padding:32px 24px 64px}
h1{font-size:1.75rem;line-height:1.2;margin:0 0 4px;letter-spacing:-.01em}
h2{font-size:1.25rem;margin:48px 0 4px;padding-top:16px;border-top:1px solid var(--line)}
h3{font-size:1rem;margin:24px 0 4px}
p{margin:4px 0 12px;max-width:72ch}
.muted,figcaption span,.facts span,.why,.where{color:var(--muted)}
.facts{display:grid;grid-template-columns:repeat(auto-fit,minmax(150px,1fr));gap:12px;margin:24px 0 0;padding:0}
.facts div{background:var(--panel);border-radius:8px;padding:12px 14px}
.facts b{display:block;font-size:1.4rem;line-height:1.3;font-variant-numeric:tabular-nums}
.facts span{font-size:.82rem;line-height:1.35;display:block}
ol.findings{list-style:none;margin:12px 0 0;padding:0}
ol.findings li{padding:12px 0 12px 16px;border-left:4px solid rgba(var(--heat),var(--w));margin:0 0 10px}
ol.findings p{margin:0;max-width:none}
.say{font-weight:600}
.why{font-size:.92rem}
.where{font-size:.8rem}
.null{margin:8px 0 0;padding-left:20px}
.null li{margin:0 0 8px}
details>summary{cursor:pointer;color:var(--accent);margin:8px 0}
.grids{display:grid;grid-template-columns:repeat(auto-fit,minmax(min(100%,340px),1fr));gap:28px 36px;margin-top:16px}
figure{margin:0}
figcaption{margin-bottom:6px;line-height:1.35}
figcaption span{font-size:.85rem}
.grid svg{display:block;width:100%;height:auto;max-width:560px}
.grid text{font:9px system-ui,"DejaVu Sans",sans-serif}
.grid text.a{fill:var(--muted);font-size:10px}
.bar{display:flex;gap:8px;align-items:center;font-size:.78rem;color:var(--muted);margin:0 0 6px;max-width:260px}
.bar b{flex:1;height:8px;border-radius:2px}
.key{display:flex;flex-wrap:wrap;gap:4px 14px;font-size:.82rem;color:var(--muted);margin:0 0 6px}
.key i{display:inline-block;width:10px;height:10px;border-radius:2px;margin-right:5px}
.maps figure{overflow:hidden}
.maps svg{display:block;width:100%;height:auto}
.strip{background:var(--panel);border-radius:8px;padding:14px 16px;line-height:1.9;overflow-wrap:anywhere;white-space:pre-wrap}
.strip i{color:var(--muted);font-style:normal}
.strip s{text-decoration:none;border-bottom:2px solid rgb(var(--heat))}
.strip b{font-weight:inherit;border-radius:3px}
.scroll{overflow-x:auto;margin:8px 0 16px}
table{border-collapse:collapse;font-size:.88rem;min-width:50%}
th{text-align:left;font-weight:600;color:var(--muted);white-space:nowrap}
th,td{padding:5px 14px 5px 0;border-bottom:1px solid var(--line);vertical-align:top}
td.n,th.n{text-align:right;font-variant-numeric:tabular-nums;white-space:nowrap}
code{font:.88em ui-monospace,"DejaVu Sans Mono",monospace;overflow-wrap:anywhere}
@media (max-width:560px){th,th.n{white-space:normal}th,td{padding-right:10px}body{font-size:15px}main{padding:20px 16px 48px}h1{font-size:1.4rem}.facts{grid-template-columns:1fr 1fr}}
@media print{:root{color-scheme:light}body{font-size:11pt}main{max-width:none;padding:0}h2{break-after:avoid}figure,li,tr{break-inside:avoid}*{print-color-adjust:exact;-webkit-print-color-adjust:exact}}
)";

}  // namespace

std::string page_style() {
  const std::string light = std::string(":root{color-scheme:light dark;") + kLight + figure::page_colors(false) + "}";
  const std::string dark = std::string(":root{") + kDark + figure::page_colors(true) + "--figure-background:#0d1117;}";
  // Paper is white, whatever the screen is.
  return light + ".on-dark{display:none}@media screen and (prefers-color-scheme:dark){" + dark +
         ".on-light{display:none}.on-dark{display:inline}}" + kRules;
}

}  // namespace headlight::report
