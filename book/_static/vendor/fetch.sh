#!/bin/sh
# Fetch the scripts of README.md again, in the versions named there, and lay them out as the pages expect.
set -eu
here=$(cd "$(dirname "$0")" && pwd)
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
for package in mathjax@3.2.2 @popperjs/core@2.11.8 tippy.js@6.3.7 uplot@1.6.32; do
    mkdir -p unpacked
    npm pack --silent "$package" | xargs -I{} tar -xzf {} -C unpacked
    case $package in
    mathjax*)
        mkdir -p "$here/mathjax/output/chtml/fonts"
        cp unpacked/package/es5/tex-mml-chtml.js unpacked/package/LICENSE "$here/mathjax/"
        cp -R unpacked/package/es5/output/chtml/fonts/woff-v2 "$here/mathjax/output/chtml/fonts/" ;;
    @popperjs*)
        mkdir -p "$here/popper"
        cp unpacked/package/dist/umd/popper.min.js "$here/popper/"
        cp unpacked/package/LICENSE.md "$here/popper/LICENSE" ;;
    tippy*)
        mkdir -p "$here/tippy"
        cp unpacked/package/dist/tippy-bundle.umd.min.js unpacked/package/LICENSE "$here/tippy/" ;;
    uplot*)
        mkdir -p "$here/uplot"
        cp unpacked/package/dist/uPlot.iife.min.js unpacked/package/dist/uPlot.min.css \
            unpacked/package/LICENSE "$here/uplot/" ;;
    esac
    rm -rf unpacked
done
