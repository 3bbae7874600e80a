"""Computes which files of each crate import from which others, and fails on a new import cycle.

    python3 checks/modules.py              checks
    python3 checks/modules.py --layers     prints the layers of each crate, lowest first
    python3 checks/modules.py --why A B    prints what the file A names of the file B (paths below rust/)
    python3 checks/modules.py --write      writes known_cycles.txt; refuses if more files would be in cycles

A file imports from another one if one of its `use` items or paths leads to an item that the other one defines;
re-exports are followed to the definition. Tests do not count, nor do `mod` items. The cycles that exist are listed in
checks/known_cycles.txt: the list may only get shorter.
"""

import collections
import pathlib
import re
import sys

RUST = pathlib.Path(__file__).resolve().parent.parent / "rust"
KNOWN = pathlib.Path(__file__).resolve().parent / "known_cycles.txt"
CRATES = ["policy", "redact", "git-push", "proxy", "sandbox", "jail"]
ITEMS = {"struct", "enum", "union", "trait", "type", "fn", "const", "static", "mod", "use", "macro_rules"}

TOKEN = re.compile(
    r"""(?P<comment>//[^\n]*|/\*.*?\*/)
    |(?P<raw>\b(?:br|cr|r)(?P<hashes>\#*)".*?"(?P=hashes))
    |(?P<string>\b[bc]?"(?:\\.|[^"\\])*"|"(?:\\.|[^"\\])*")
    |(?P<char>\bb?'(?:\\(?:x[0-9a-fA-F]{2}|u\{[^}]*\}|.)|[^'\\])'|'(?:\\(?:x[0-9a-fA-F]{2}|u\{[^}]*\}|.)|[^'\\])')
    |(?P<lifetime>'[A-Za-z_]\w*)
    |(?P<name>(?:r\#)?[A-Za-z_]\w*)
    |(?P<path>::)
    |(?P<number>\d[\w.]*)
    |(?P<other>\S)""",
    re.VERBOSE | re.DOTALL,
)


class Module:
    """One module: its files, its items, what its imports bind, and the paths that it names."""

    def __init__(self, path):
        self.path = path
        self.children = {}
        self.items = {}  # name -> the file that defines it
        self.imports = {}  # name -> (path, file)
        self.globs = []  # (path, file)
        self.references = []  # (path, file)


def tokens_of(text):
    tokens = []
    for match in TOKEN.finditer(text):
        kind = match.lastgroup if match.lastgroup != "hashes" else "raw"
        if kind not in ("comment", "char", "lifetime", "number"):
            tokens.append((kind, match.group()))
    return tokens


class Reader:
    """Reads the files of one crate into a tree of modules."""

    def __init__(self, root_file):
        self.root = Module(())
        self.files = set()
        self.read_file(root_file, self.root, root_file.parent)

    def read_file(self, file, module, directory):
        self.files.add(file)
        self.read_items(tokens_of(file.read_text()), module, file, directory)

    def read_items(self, tokens, module, file, directory):
        position, attributes = 0, []
        while position < len(tokens):
            kind, text = tokens[position]
            if text == "#":
                inner = tokens[position + 1][1] == "!"
                start = position + (2 if inner else 1)
                end = closing(tokens, start)
                if inner and is_for_tests(tokens[start:end]):
                    return
                if not inner:
                    attributes.append(tokens[start:end])
                position = end
                continue
            if any(is_for_tests(attribute) for attribute in attributes):
                position = after_item(tokens, position)
            elif text == "use":
                position = self.read_use(tokens, position + 1, module, file)
            elif text == "mod" and tokens[position + 1][0] == "name":
                position = self.read_mod(tokens, position + 1, attributes, module, file, directory)
            else:
                position = self.read_other(tokens, position, module, file)
            # The attributes of an item stay until its first word that says which item it is.
            if text not in ("pub", "(", ")", "crate", "super", "in"):
                attributes = []

    def read_use(self, tokens, position, module, file):
        end = position
        while tokens[end][1] != ";":
            end += 1
        self.read_use_tree(tokens[position:end], (), module, file)
        return end + 1

    def read_use_tree(self, tokens, prefix, module, file):
        path, position = list(prefix), 0
        while position < len(tokens):
            kind, text = tokens[position]
            if text == "{":
                inside = tokens[position + 1 : closing(tokens, position) - 1]
                for branch in split(inside):
                    self.read_use_tree(branch, tuple(path), module, file)
                return
            if text == "*":
                module.globs.append((tuple(path), file))
                return
            if text == "as":
                self.bind(tokens[position + 1][1], tuple(path), module, file)
                return
            if kind == "name" and not (text == "self" and path):
                path.append(text)
            position += 1
        if path:
            self.bind(path[-1], tuple(path), module, file)

    @staticmethod
    def bind(name, path, module, file):
        module.imports[name] = (path, file)
        module.references.append((path, file))

    def read_mod(self, tokens, position, attributes, module, file, directory):
        name = tokens[position][1]
        child = module.children.setdefault(name, Module((*module.path, name)))
        if tokens[position + 1][1] == "{":
            end = closing(tokens, position + 1)
            self.read_items(tokens[position + 2 : end - 1], child, file, directory / name)
            return end
        files = [directory / f"{name}.rs", directory / name / "mod.rs"]
        # `#[path = "…"]`, also in cfg_attr.
        for attribute in attributes:
            words = [text for _, text in attribute]
            for index, word in enumerate(words[:-2]):
                if word == "path" and words[index + 1] == "=":
                    files.append(directory / words[index + 2].strip('"'))
        for candidate in files:
            if candidate.is_file():
                self.read_file(candidate, child, directory / name)
        return position + 2

    def read_other(self, tokens, position, module, file):
        """One token or path; an item's name is noted where it is defined at the module's own level."""
        kind, text = tokens[position]
        if text in ITEMS and position + 1 < len(tokens) and tokens[position + 1][0] in ("name", "other"):
            following = position + 1
            while tokens[following][1] in ("!", "mut", "unsafe", "async", "extern", "const", "fn"):
                following += 1
            if tokens[following][0] == "name":
                module.items.setdefault(tokens[following][1], file)
                return following + 1
        if kind == "name":
            path, end = path_at(tokens, position)
            if len(path) > 1:
                module.references.append((path, file))
            return end
        if text == "{":
            return self.read_block(tokens, position, module, file)
        return position + 1

    def read_block(self, tokens, position, module, file):
        """The inside of braces: paths and imports count for the module, items in it do not."""
        end = closing(tokens, position)
        index, attributes = position + 1, []
        while index < end - 1:
            kind, text = tokens[index]
            if text == "#" and tokens[index + 1][1] == "[":
                stop = closing(tokens, index + 1)
                attributes.append(tokens[index + 1 : stop])
                index = stop
                continue
            if any(is_for_tests(attribute) for attribute in attributes):
                index = after_item(tokens, index)
            elif text == "use" and kind == "name" and tokens[index + 1][0] in ("name", "path", "other"):
                index = self.read_use(tokens, index + 1, module, file)
            elif kind == "name":
                path, index = path_at(tokens, index)
                if len(path) > 1:
                    module.references.append((path, file))
            else:
                index += 1
            attributes = []
        return end


def path_at(tokens, position):
    path, end = [tokens[position][1]], position + 1
    while end + 1 < len(tokens) and tokens[end][0] == "path" and tokens[end + 1][0] == "name":
        path.append(tokens[end + 1][1])
        end += 2
    # `<T as Trait>::name` and `::std::…` do not begin here.
    if position and tokens[position - 1][0] == "path":
        path = path[:1]
    return tuple(path), end


def closing(tokens, position):
    """The position behind the bracket that closes the one at `position`."""
    pairs = {"(": ")", "[": "]", "{": "}"}
    depth = 0
    for index in range(position, len(tokens)):
        kind, text = tokens[index]
        if kind == "other":
            depth += (text in pairs) - (text in pairs.values())
            if depth == 0:
                return index + 1
    return len(tokens)


def after_item(tokens, position):
    """The position behind an item, statement, field or arm: its `;`, `,` or `}`, whichever ends it."""
    index = position
    while index < len(tokens):
        text = tokens[index][1]
        if text in (";", ","):
            return index + 1
        if text == "{":
            return closing(tokens, index)
        if text in ("(", "["):
            index = closing(tokens, index)
        elif text in ("}", ")", "]"):
            return index
        else:
            index += 1
    return index


def split(tokens):
    branches, branch, index = [], [], 0
    while index < len(tokens):
        if tokens[index][1] == ",":
            branches.append(branch)
            branch, index = [], index + 1
        elif tokens[index][1] == "{":
            end = closing(tokens, index)
            branch += tokens[index:end]
            index = end
        else:
            branch.append(tokens[index])
            index += 1
    return [branch for branch in [*branches, branch] if branch]


def is_for_tests(attribute):
    words = [text for _, text in attribute]
    return "cfg" in words[:2] and "test" in words and not {"not", "any"} & set(words)


class Graph:
    """Which files of a crate import from which, and the names that make it so."""

    def __init__(self, crate):
        source = RUST / crate / "src"
        root_file = next(file for file in (source / "lib.rs", source / "main.rs") if file.is_file())
        self.crate = crate
        reader = Reader(root_file)
        self.root = reader.root
        self.files = sorted(reader.files)
        self.edges = collections.defaultdict(lambda: collections.defaultdict(set))
        self.collect(self.root)

    def collect(self, module):
        for path, file in module.references:
            self.add(file, self.definition(module, path), path)
        for path, file in module.globs:
            target = self.module_at(module, path)
            for item in target.items.values() if target else ():
                self.add(file, item, (*path, "*"))
        for child in module.children.values():
            self.collect(child)

    def add(self, file, target, path):
        if target and target != file:
            self.edges[file][target].add("::".join(path))

    def start(self, module, path):
        """The module in which the rest of a path is looked up; None for another crate's path."""
        first, rest = path[0], path[1:]
        if first == "crate":
            return self.root, rest
        if first == "self":
            return module, rest
        if first == "super":
            parent = self.at(module.path[:-1])
            while rest and rest[0] == "super":
                parent, rest = self.at(parent.path[:-1]), rest[1:]
            return parent, rest
        if first in module.children or first in module.imports or first in module.items:
            return module, path
        return None, ()

    def at(self, path):
        module = self.root
        for name in path:
            module = module.children[name]
        return module

    def definition(self, module, path, seen=frozenset()):
        """The file that defines what a path leads to; None for a module, and for another crate's item."""
        module, rest = self.start(module, path)
        while module and rest:
            name = rest[0]
            if name in module.children:
                module, rest = module.children[name], rest[1:]
                continue
            if name in module.items:
                return module.items[name]
            if name in module.imports:
                key = (module.path, name)
                imported = module.imports[name][0]
                if key in seen or imported[0] == name and len(imported) == 1:
                    return None
                return self.definition(module, imported + rest[1:], seen | {key})
            for glob, _ in module.globs:
                target = self.module_at(module, glob)
                if target and target is not module and name in {**target.items, **target.imports, **target.children}:
                    return self.definition(target, ("self", *rest), seen)
            return None
        return None

    def module_at(self, module, path):
        module, rest = self.start(module, path)
        for name in rest:
            if module is None:
                return None
            if name in module.children:
                module = module.children[name]
            elif name in module.imports and module.imports[name][0] != (name,):
                module = self.module_at(module, module.imports[name][0])
            else:
                return None
        return module

    def components(self):
        """The strongly connected components, each after those that it imports from (Tarjan)."""
        index, low, stack, found = {}, {}, [], []

        def visit(file):
            index[file] = low[file] = len(index)
            stack.append(file)
            for target in sorted(self.edges[file]):
                if target not in index:
                    visit(target)
                    low[file] = min(low[file], low[target])
                elif target in stack:
                    low[file] = min(low[file], index[target])
            if low[file] == index[file]:
                component = []
                while not component or component[-1] != file:
                    component.append(stack.pop())
                found.append(sorted(component))

        sys.setrecursionlimit(10_000)
        for file in self.files:
            if file not in index:
                visit(file)
        return found

    def cycles(self):
        return [[relative(file) for file in component] for component in self.components() if len(component) > 1]

    def layers(self):
        """Files by layer: each imports only from layers below its own, cycles aside."""
        layer_of, layers = {}, collections.defaultdict(list)
        for component in self.components():
            targets = {target for file in component for target in self.edges[file]} - set(component)
            layer = 1 + max((layer_of[target] for target in targets), default=-1)
            layer_of.update((file, layer) for file in component)
            names = [str(file.relative_to(RUST / self.crate / "src")) for file in component]
            layers[layer].append(" ⇄ ".join(names))
        return [layers[layer] for layer in sorted(layers)]


def relative(file):
    return str(file.relative_to(RUST))


def known_cycles():
    groups = KNOWN.read_text().split("\n\n") if KNOWN.is_file() else []
    lines = [[line for line in group.splitlines() if line and not line.startswith("#")] for group in groups]
    return [group for group in lines if group]


def write(cycles):
    before, now = (sum(map(len, groups)) for groups in (known_cycles(), cycles))
    if KNOWN.is_file() and now > before:
        sys.exit(f"FAILED: {now} files are in import cycles, {before} were: untie the new ones")
    head = "# Import cycles between files that exist; each group is one. Written by: python3 checks/modules.py --write\n"
    KNOWN.write_text(head + "".join("\n" + "\n".join(cycle) + "\n" for cycle in cycles))
    print(f"{now} files in {len(cycles)} cycles")


def check(graphs, cycles):
    known = known_cycles()
    group_of = {file: number for number, group in enumerate(known) for file in group}
    failed = False
    for cycle in cycles:
        new = [file for file in cycle if file not in group_of]
        joined = {group_of[file] for file in cycle if file in group_of}
        if new or len(joined) > 1:
            failed = True
            print(f"new import cycle, with {', '.join(new) or 'cycles that were apart'}:")
            explain(graphs, cycle, new)
    gone = set(group_of) - {file for cycle in cycles for file in cycle}
    if gone:
        failed = True
        print(f"no longer in a cycle: {', '.join(sorted(gone))}; run python3 checks/modules.py --write")
    if failed:
        sys.exit("FAILED: import cycles; move what both sides need into a module of its own")
    edges = sum(len(targets) for graph in graphs for targets in graph.edges.values())
    files = sum(len(graph.files) for graph in graphs)
    print(f"{files} files, {edges} imports; {len(group_of)} files in {len(cycles)} known cycles, no new one")


def explain(graphs, cycle, new):
    members = {RUST / file for file in cycle}
    for graph in graphs:
        for file in sorted(members):
            for target in sorted(graph.edges.get(file, ())):
                if target in members and (not new or {relative(file), relative(target)} & set(new)):
                    names = ", ".join(sorted(graph.edges[file][target]))
                    print(f"  {relative(file)} imports from {relative(target)}: {names}")


def main():
    graphs = [Graph(crate) for crate in CRATES]
    cycles = sorted(cycle for graph in graphs for cycle in graph.cycles())
    arguments = sys.argv[1:]
    if arguments == ["--layers"]:
        for graph in graphs:
            print(f"\n{graph.crate}")
            for number, layer in enumerate(graph.layers()):
                print(f"  {number}: {', '.join(sorted(layer))}")
    elif arguments == ["--write"]:
        write(cycles)
    elif arguments[:1] == ["--why"] and len(arguments) == 3:
        file, target = (RUST / name for name in arguments[1:])
        for graph in graphs:
            print("\n".join(sorted(graph.edges.get(file, {}).get(target, ()))), end="")
        print()
    elif arguments:
        sys.exit(__doc__)
    else:
        check(graphs, cycles)


main()
