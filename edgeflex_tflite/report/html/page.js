"use strict";

const TOUCHED = matchMedia("(pointer: coarse)").matches;  // there a finger scrolls and nothing hovers
const OPTIONS = {
  responsive: true, displaylogo: false, displayModeBar: TOUCHED ? false : "hover", showSendToCloud: false, plotlyServerURL: "",
};

/* What plots look like, in the colours that the page has now. */
function look() {
  const style = getComputedStyle(document.documentElement);
  const color = (name) => style.getPropertyValue(name).trim();
  const axis = {gridcolor: color("--line"), zerolinecolor: color("--line"), automargin: true};
  const rising = [[0, color("--panel")], [1, color("--mark-1")]];
  const template = {
    data: {bar: [{marker: {line: {color: color("--page")}}}]},
    layout: {
      font: {color: color("--ink"), family: "system-ui, sans-serif"},
      paper_bgcolor: "rgba(0,0,0,0)",
      plot_bgcolor: "rgba(0,0,0,0)",
      hoverlabel: {bgcolor: color("--panel"), bordercolor: color("--line"), font: {color: color("--ink")}},
      colorway: [1, 2, 3, 4, 5, 6].map((number) => color(`--mark-${number}`)),
      shapedefaults: {line: {color: color("--faint")}},
      xaxis: axis,
      yaxis: axis,
      dragmode: TOUCHED ? false : "zoom",
    },
  };
  const colorscale = {
    sequential: rising,
    sequentialminus: rising,
    diverging: [[0, color("--mark-4")], [0.5, color("--panel")], [1, color("--mark-3")]],
  };
  return {template, colorscale};
}

addEventListener("DOMContentLoaded", () => {
  const plots = [...document.querySelectorAll(".plot")].map((place) => {
    const data = place.querySelector("script");
    data.remove();
    return {place, ...JSON.parse(data.textContent)};
  });
  const draw = () => {
    const looks = look();
    for (const {place, data, layout} of plots) Plotly.react(place, data, {...layout, ...looks}, OPTIONS);
  };
  draw();
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", draw);
});
