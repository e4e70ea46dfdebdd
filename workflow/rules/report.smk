# One HTML file that opens offline.


rule report:
    input:
        **SEARCH.report_input,
        # Not seen by the hash of the code.
        page=[
            source_file(str(path.relative_to(WORKFLOW.parent)))
            for path in sorted((WORKFLOW / "archipelago/report/templates").glob("*.*"))
        ],
    output:
        html=report(
            result("report.html"),
            caption="../report/report.rst",
            category="Report",
            labels={"what": "the search, its candidates and their evidence"},
        ),
    log:
        log_of("report"),
    benchmark:
        benchmark_of("report")
    conda:
        "../../envs/report.yaml"
    threads: 1
    resources:
        mem_mb=memory_mb("report"),
        runtime=minutes("report"),
    params:
        report=CONFIG.report.plain(),
        run=CONFIG.run,
        config=CONFIG.plain(
            without={
                # What changes no result of the search.
                **dict.fromkeys(("services", "similar", "target"), True),
                "sed": {"fit": {"memory_mb", "device"}},
            }
        ),
        bands=CONFIG.photometry.bands,
        passbands=CONFIG.sed.passbands,
        left_out=SEARCH.left_out,
        code=code("report"),
        follows=follows(
            "posteriors", "losses", *(["recall"] if SEARCH.has_truth else [])
        ),
    message:
        "Write the report"
    script:
        "../scripts/report.py"
