#!/usr/bin/env bash
# Packs the library and the tool, installs both from a local folder into a fresh project and a fresh place, and segments an image with
# each: what a user of the packages gets. Needs no network where the packages that they depend on are in NuGet's cache.
#   scripts/test-package.sh [MODEL [IMAGE]]
set -euo pipefail
cd "$(dirname "$0")/.."
root=$PWD
model=$(realpath "${1:-models/dwrseg-base-camvid.safetensors}")
image=$(realpath "${2:-samples/street.png}")
export DOTNET_CLI_TELEMETRY_OPTOUT=1 DOTNET_NOLOGO=1

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
fail() { echo "test-package: $*" >&2; exit 1; }

dotnet pack -c Release src/DwrSeg.Native -o "$work/packages" -v quiet
dotnet pack -c Release src/DwrSeg.Cli -o "$work/packages" -v quiet
version=$(basename "$work"/packages/DwrSeg.Native.*.nupkg .nupkg)
version=${version#DwrSeg.Native.}

# Settings of their own, so that the packages under test never enter the machine's cache, which only serves what they depend on.
cache=$(dotnet nuget locals global-packages --list | sed 's/^global-packages: //')
mkdir "$work/app"
cat > "$work/nuget.config" <<EOF
<configuration>
  <packageSources><clear /><add key="local" value="$work/packages" /></packageSources>
  <fallbackPackageFolders><clear /><add key="cache" value="$cache" /></fallbackPackageFolders>
</configuration>
EOF
cat > "$work/app/app.csproj" <<EOF
<Project Sdk="Microsoft.NET.Sdk">
  <PropertyGroup>
    <OutputType>Exe</OutputType>
    <TargetFramework>net10.0</TargetFramework>
    <Nullable>enable</Nullable>
    <ImplicitUsings>enable</ImplicitUsings>
    <RestorePackagesPath>$work/installed</RestorePackagesPath>
  </PropertyGroup>
  <ItemGroup>
    <PackageReference Include="DwrSeg.Native" Version="$version" />
  </ItemGroup>
</Project>
EOF
cp docs/examples/SegmentImage.cs "$work/app/"
echo 'Console.WriteLine(string.Join(", ", DwrSeg.Examples.SegmentImage.Run(args[0], args[1], args[2])));' > "$work/app/Program.cs"
(cd "$work/app" && dotnet run -c Release -- "$model" "$image" "$work/library.png")
[ -s "$work/library.png" ] || fail "the installed library wrote no overlay"

installed="$work/installed/dwrseg.native/$version"
for file in README.md LICENSE lib/net10.0/DwrSeg.Native.dll lib/net10.0/DwrSeg.Native.xml; do
    [ -s "$installed/$file" ] || fail "the library's package holds no $file"
done
grep -q '<dependency id="SkiaSharp"' "$installed/dwrseg.native.nuspec" || fail "the library's package does not name SkiaSharp"

(cd "$work" && dotnet tool install DwrSeg.Cli --version "$version" --tool-path "$work/tool" --configfile "$work/nuget.config" > /dev/null)
if [ -f "$root/models/dwrseg-base-camvid.safetensors" ]; then
    (cd "$work" && "$work/tool/dwrseg" segment "$image" --out "$work/out")
else
    (cd "$work" && "$work/tool/dwrseg" segment "$image" --model "$model" --out "$work/out")
fi
stem=$(basename "${image%.*}")
[ -s "$work/out/$stem.overlay.png" ] || fail "the installed tool wrote no overlay"
find "$work/tool/.store" -name README.md -path '*dwrseg.cli*' | grep -q . || fail "the tool's package holds no README.md"
echo "library and tool install and run from their packages"
