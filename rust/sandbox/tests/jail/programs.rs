//! Ordinary programs do not notice.

use std::path::Path;

use crate::support::{Jail, User, users};

fn jail(user: User) -> Jail {
    Jail::of(user)
        .word("own:/home/job")
        .word("env:HOME=/home/job")
        .word("cd:/home/job")
        .word("file:/etc/passwd:job\u{3a}x\u{3a}1000\u{3a}1000")
}

fn has(program: &str) -> bool {
    let found =
        ["/usr/bin", "/usr/local/bin"].iter().any(|directory| Path::new(directory).join(program).exists());
    if !found {
        crate::skip::report(&format!("in part: there is no {program} on this host"));
    }
    found
}

#[test]
fn git_commits() {
    for user in users().into_iter().filter(|_| has("git")) {
        let script = "set -e; git init -q repository; cd repository; echo text > file; git add file
            git -c user.name=a -c user.email=a@example.test commit -qm first; git gc -q
            git clone -q . ../copy; git -C ../copy log --format=%s";
        jail(user).sh(script).exits(0).prints("first");
    }
}

#[test]
fn python_uses_threads_processes_and_shared_memory() {
    for user in users() {
        let script = "
import concurrent.futures, multiprocessing, subprocess, tempfile, threading, asyncio, os
if __name__ == '__main__':
    with concurrent.futures.ThreadPoolExecutor(8) as pool: assert sum(pool.map(abs, range(100))) == 4950
    with multiprocessing.get_context('fork').Pool(4) as pool: assert sum(pool.map(abs, range(100))) == 4950
    assert subprocess.check_output(['echo', 'hi']) == b'hi\\n'
    with tempfile.NamedTemporaryFile() as file: os.link(file.name, file.name + '2')
    asyncio.run(asyncio.sleep(0))
    print('fine')";
        jail(user).python(script).exits(0).prints("fine");
    }
}

#[test]
fn node_compiles_and_spawns() {
    for user in users().into_iter().filter(|_| has("node")) {
        let script = "
            let sum = 0; for (let i = 0; i < 1e7; i++) sum += i % 7;
            const { Worker } = require('worker_threads');
            const fs = require('fs');
            fs.watch('.').close();
            require('child_process').execFileSync('true');
            new Worker('require(\"worker_threads\").parentPort.postMessage(1)', { eval: true })
                .on('message', () => { fs.promises.writeFile('x', 'y').then(() => console.log('fine', sum)); });";
        jail(user).run(["node", "-e", script]).exits(0).prints("fine 29999994");
    }
}

#[test]
fn the_compiler_and_the_shells_tools_run() {
    for user in users().into_iter().filter(|_| has("gcc")) {
        let script = "set -e; echo 'int main(void){return 7;}' > a.c; gcc -o a a.c; ./a || echo $?
            find /usr/bin -name 'sh' | head -n 1; seq 3 | sort -r | tr '\\n' ' '";
        jail(user).sh(script).exits(0);
    }
}
